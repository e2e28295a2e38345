"""Who may write which table: found in the source, so that a second writer cannot slip in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ("scheduler_app", "agents_app", "errors_app", "executions_app", "config")

OWNERS = {
    "Agent": set(),
    "Breaker": {"errors_app/breakers/recorder.py"},
    "BreakerTransition": {"errors_app/breakers/recorder.py"},
    "Credential": {"agents_app/objects/credentials.py"},
    "Cycle": {"agents_app/cycle/rows.py", "scheduler_app/adoption.py"},
    "PlanApproval": {"agents_app/cycle/approval_rows.py"},
    "Endpoint": set(),
    "Execution": {"executions_app/lifecycle.py", "executions_app/outbox.py"},
    "Step": {"executions_app/steps.py"},
    "Schedule": {
        "scheduler_app/schedules.py",
        "scheduler_app/pauses.py",
        "scheduler_app/dispatcher.py",
        "scheduler_app/adoption_effects.py",
    },
    "ScheduleDecision": {"scheduler_app/adoption_moves.py"},
    "FireRecord": {"scheduler_app/pauses.py", "scheduler_app/sources/records.py"},
    "ErrorRecord": {"errors_app/many.py", "errors_app/recovery.py", "errors_app/handling.py"},
    "DeadLetter": {"errors_app/many.py", "errors_app/recovery.py", "errors_app/handling.py"},
    "Incident": {"errors_app/incidents/deciding.py"},
    "IncidentBucket": set(),
    "Alert": set(),
    "AlertRule": {"errors_app/alerting/rules.py", "errors_app/alerting/watch.py"},
    "AlertChannel": {"errors_app/alerting/channels.py"},
    "AlertDelivery": set(),
    "Process": set(),
    "Provider": {"agents_app/clients/llm_form.py"},
}
SQL_OWNERS = {
    "task_executions": {
        "executions_app/statements.py",
        "executions_app/leases.py",
        "executions_app/outbox.py",
        "executions_app/holding.py",
        "executions_app/uniqueness.py",
        "executions_app/overlaps.py",
        "executions_app/waiting.py",
    },
    "execution_steps": {"executions_app/step_statements.py"},
    "task_schedules": {
        "scheduler_app/firing.py",
        "scheduler_app/consequences.py",
        "scheduler_app/sources/starting.py",
    },
    "fire_records": {"scheduler_app/firing.py", "scheduler_app/backfill_rows.py"},
    "error_records": {"errors_app/incidents/folding.py"},
    "incidents": {"errors_app/incidents/folding.py", "errors_app/incidents/recovering.py"},
    "incident_buckets": {"errors_app/incidents/folding.py"},
    "alerts": {"errors_app/alerting/raising.py", "errors_app/alerting/notices.py"},
    "alert_deliveries": {"errors_app/alerting/notices.py"},
    "alert_round": {"errors_app/alerting/watch.py"},
    "processes": {"executions_app/presence.py"},
    "dead_letters": set(),
    "events": {"executions_app/events.py"},
    "audit_log": set(),
}
WRITES = {"create", "bulk_create", "update", "bulk_update", "delete", "get_or_create",
          "update_or_create", "save"}  # fmt: skip


def modules() -> Iterator[tuple[str, str]]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_text()


def root_name(node: ast.AST) -> str | None:
    """`Execution` for `Execution.objects.filter(...).update`."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else None


def orm_writers(model: str) -> set[str]:
    found = set()
    for name, source in modules():
        for node in ast.walk(ast.parse(source)):
            is_write = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in WRITES
                and root_name(node.func) == model
            )
            if is_write:
                found.add(name)
    return found


def sql_writers(table: str) -> set[str]:
    statement = re.compile(rf"(INSERT INTO|UPDATE|DELETE FROM)\s+{table}\b")
    return {name for name, source in modules() if statement.search(source)}


@pytest.mark.parametrize("model", OWNERS)
def test_only_its_owners_write_a_model(model: str) -> None:
    assert orm_writers(model) <= OWNERS[model]


@pytest.mark.parametrize("table", SQL_OWNERS)
def test_only_its_owners_write_a_table_in_sql(table: str) -> None:
    assert sql_writers(table) <= SQL_OWNERS[table]


def test_the_search_for_writers_finds_the_known_ones() -> None:
    assert "executions_app/lifecycle.py" in orm_writers("Execution")
    assert "executions_app/statements.py" in sql_writers("task_executions")


def test_modules_stay_under_300_lines_and_say_their_part() -> None:
    too_long = [name for name, source in modules() if source.count("\n") > 300]
    silent = [
        name
        for name, source in modules()
        if source.count("\n") > 5 and not ast.get_docstring(ast.parse(source))
    ]

    assert (too_long, silent) == ([], [])
