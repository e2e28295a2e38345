"""The drawn state machines are the coded ones."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest

from executions_app import events, states
from executions_app.states import (
    TRANSITIONS,
    AlertStatus,
    ApprovalStatus,
    BreakerStatus,
    BulkStatus,
    DecisionStatus,
    ExecutionStatus,
    IllegalMove,
    IncidentStatus,
    NoticeStatus,
    RecoveryStatus,
    StepStatus,
    SystemStatus,
)

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {
    "Execution": ExecutionStatus,
    "Step": StepStatus,
    "Error record": RecoveryStatus,
    "Incident": IncidentStatus,
    "Breaker": BreakerStatus,
    "Alert": AlertStatus,
    "Notice": NoticeStatus,
    "System": SystemStatus,
    "Bulk operation": BulkStatus,
    "AI decision": DecisionStatus,
    "Plan approval": ApprovalStatus,
}
ARROW = re.compile(r"^\| (\w+) \| (\w+) \| (.+) \|$", re.MULTILINE)


def drawn(section: str) -> dict[tuple[str, str], str]:
    text = (ROOT / "docs" / "state_machines.md").read_text()
    body = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    rows = [row for row in ARROW.findall(body) if row[0] != "from"]
    return {(source, target): words for source, target, words in rows}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_document_draws_exactly_the_arrows_of_the_code(section: str) -> None:
    machine = SECTIONS[section]

    coded = {
        (source.value, target.value)
        for source, targets in TRANSITIONS[machine].items()
        for target in targets
    }

    assert set(drawn(section)) == coded


@pytest.mark.parametrize("section", [*SECTIONS, "Cycle"])
def test_every_function_that_the_document_names_exists(section: str) -> None:
    sources: dict[str, str] = {}
    for app in ("scheduler_app", "agents_app", "errors_app", "executions_app"):
        for path in (ROOT / app).rglob("*.py"):
            sources[path.stem] = sources.get(path.stem, "") + path.read_text()

    named = {
        tuple(name.split("."))
        for words in drawn(section).values()
        for name in re.findall(r"`(\w+\.\w+)`", words)
    }

    missing = [f"{m}.{f}" for m, f in sorted(named) if f"def {f}(" not in sources.get(m, "")]
    assert missing == []


PAIRS = [(source, target) for machine in TRANSITIONS for source in machine for target in machine]


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=lambda one: f"{type(one).__name__}.{one}")
def test_a_move_is_admitted_exactly_where_the_machine_has_an_arrow(
    source: StrEnum, target: StrEnum
) -> None:
    has_arrow = target in TRANSITIONS[type(source)][source]

    if has_arrow:
        states.check(source, target)
    else:
        with pytest.raises(IllegalMove, match="cannot move from"):
            states.check(source, target)

    assert states.is_legal(source, target) is has_arrow


def test_no_state_that_ended_leads_anywhere_but_a_requeue() -> None:
    leaving = {
        (source, target)
        for source in states.TERMINAL
        for target in TRANSITIONS[ExecutionStatus][source]
    }

    assert leaving == {(ExecutionStatus.FAILED, ExecutionStatus.PENDING)}


def test_the_guide_lists_exactly_the_events_there_are() -> None:
    guide = (ROOT / "docs" / "user_guide" / "live.md").read_text()

    listed = set(re.findall(r"^\| `(\w+:\w+)` \|", guide, re.MULTILINE))

    assert listed == set(events.TYPES)
