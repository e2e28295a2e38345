"""The demo's judge: silent about a world in which all agrees, and outspoken about every lie."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from psycopg.types.json import Jsonb
from rich.console import Console

from config.demo import evidence, judge, ledger, report
from config.demo.evidence import Cycle, Error, Evidence, Execution, Fire, Schedule, Step
from config.demo.ledger import Call
from config.demo.schedules import DemoSchedule, demo_schedules

NINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
URL = "http://127.0.0.1:9000"


def after(seconds: float) -> datetime:
    return NINE + timedelta(seconds=seconds)


@dataclass
class World:
    """A small history in which everything agrees, until a test changes it."""

    schedules: dict[str, Schedule] = field(default_factory=dict)
    fires: list[Fire] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    dead_letters: set[UUID] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    expected: dict[str, DemoSchedule] = field(default_factory=dict)

    def evidence(self) -> Evidence:
        return Evidence(
            judged_at=after(35),
            read_at=after(36),
            schedules=list(self.schedules.values()),
            fires=self.fires,
            executions=self.executions,
            errors=self.errors,
            dead_letters=frozenset(self.dead_letters),
            calls=self.calls,
        )

    def disagreements(self) -> list[str]:
        return judge.judge(self.evidence(), self.expected)

    def has(self, name: str, kind: str, config: dict[str, Any], next_run_at: float | None) -> None:
        self.schedules[name] = Schedule(
            id=uuid4(),
            name=name,
            trigger_type="time_based" if kind else "manual",
            schedule_type=kind,
            schedule_config=config,
            timezone="Europe/Berlin",
            priority="normal",
            enabled=kind != "one_time",
            anchor_at=NINE,
            next_run_at=None if next_run_at is None else after(next_run_at),
            version=1,
        )

    def ran(
        self, name: str, path: str, answers: list[int], *, fired_at: float | None = None
    ) -> Execution:
        """An execution of schedule `name` whose attempts were answered like this."""
        is_good = answers[-1] == 200
        planned = after(fired_at or 1)
        execution = Execution(
            id=uuid4(),
            number=len(self.executions) + 1,
            schedule_id=self.schedules[name].id,
            trigger="manual" if fired_at is None else "time",
            task_type="http_request" if path else "shell_command",
            url=f"{URL}{path}" if path else None,
            nominal_at=None if fired_at is None else planned,
            due_at=planned,
            created_at=planned,
            started_at=planned + timedelta(milliseconds=100),
            completed_at=planned + timedelta(seconds=1),
            status="completed" if is_good else "failed",
            attempt=len(answers),
            dead_letter_at=None if is_good else planned + timedelta(seconds=1),
        )
        self.executions.append(execution)
        if fired_at is not None:
            schedule_id = self.schedules[name].id
            self.fires.append(Fire(schedule_id, planned, None, 1, "dispatched", execution.id))
        for attempt, answer in enumerate(answers, start=1):
            self.attempted(execution, attempt, answer, is_last=attempt == len(answers))
        return execution

    def attempted(self, of: Execution, attempt: int, answer: int, *, is_last: bool) -> None:
        if of.url:
            path, arrived = of.url.removeprefix(URL), of.due_at.timestamp() + attempt / 10
            key = str(of.id)
            self.calls.append(
                Call(uuid4().hex, path, "POST", key, attempt, arrived, answer, arrived + 0.01)
            )
        if answer != 200:
            status = "escalated" if is_last else "resolved"
            started_at = of.due_at + timedelta(milliseconds=100)
            self.errors.append(
                Error(of.id, of.schedule_id, attempt, "transient", "no", status, started_at)
            )
            if is_last:
                self.dead_letters.add(of.id)

    def called_again(self, of: Execution, attempt: int) -> None:
        call = next(
            one for one in self.calls if (one.idempotency_key, one.attempt) == (str(of.id), attempt)
        )
        self.calls.append(replace(call, call=uuid4().hex, arrived_at=call.arrived_at + 0.2))


def expects(name: str, *, ends: int, always: str) -> dict[str, DemoSchedule]:
    return {name: DemoSchedule({"name": name}, ends=ends, always=always)}


@pytest.fixture
def world() -> World:
    world = World()
    world.has("steady", "interval", {"interval_ms": 10_000}, next_run_at=40)
    world.has("dead", "interval", {"interval_ms": 20_000}, next_run_at=40)
    world.has("disk", "interval", {"interval_ms": 30_000}, next_run_at=60)
    world.has("once", "one_time", {"run_at": "2026-11-21T09:00:15Z"}, next_run_at=None)
    world.has("minutely", "cron", {"cron": "* * * * *"}, next_run_at=60)
    world.has("by hand", "", {}, next_run_at=None)
    world.ran("steady", "/steady", [200], fired_at=10)
    world.ran("steady", "/steady", [500, 200], fired_at=20)
    world.ran("steady", "/steady", [200], fired_at=30)
    world.ran("dead", "/dead", [503, 503], fired_at=20)
    world.ran("disk", "", [200], fired_at=30)
    world.ran("once", "/steady", [200], fired_at=15)
    world.ran("by hand", "/slow", [200])
    world.expected = {
        **expects("steady", ends=3, always="completed"),
        **expects("dead", ends=1, always="failed"),
        **expects("by hand", ends=1, always="completed"),
        **expects("minutely", ends=0, always=""),
    }
    return world


def change(items: list[Any], position: int, **changes: Any) -> None:
    items[position] = replace(items[position], **changes)


def test_a_world_in_which_all_agrees_is_met_with_silence(world: World) -> None:
    assert world.disagreements() == []


def test_a_deleted_execution_is_missed_by_its_fire_its_calls_and_its_expectation(
    world: World,
) -> None:
    deleted = world.executions.pop(0)

    found = "\n".join(world.disagreements())

    assert "The fire of 'steady' at 2026-11-21T09:00:10.000Z was dispatched, but its execution" in (
        found
    )
    assert f"The call of /steady at 2026-11-21T09:00:10.100Z (key '{deleted.id}') belongs" in found
    assert "'steady' has 2 ends (completed) instead of 3" in found


def test_a_doubled_call_is_one_disagreement(world: World) -> None:
    world.called_again(world.executions[1], 2)

    assert world.disagreements() == ["Execution #2 called /steady 2 times in attempt 2"]


def test_a_call_that_nobody_recorded_is_found(world: World) -> None:
    call = Call("x", "/steady", "POST", None, None, after(5).timestamp(), 200)
    world.calls.append(call)

    assert world.disagreements() == [
        "The call of /steady at 2026-11-21T09:00:05.000Z (key None) belongs to no execution"
    ]


def test_a_call_after_the_judged_instant_may_belong_to_a_later_execution(world: World) -> None:
    later = Call("x", "/steady", "POST", str(uuid4()), 1, after(35.5).timestamp(), 200)
    world.calls.append(later)

    assert world.disagreements() == []


def delete_fire(world: World) -> None:
    gone = world.fires.pop(1)
    world.executions = [one for one in world.executions if one.id != gone.execution_id]
    world.errors = [one for one in world.errors if one.execution_id != gone.execution_id]
    world.calls = [one for one in world.calls if one.idempotency_key != str(gone.execution_id)]
    world.expected.clear()


def add_fire(world: World) -> None:
    schedule = world.schedules["steady"]
    world.fires.append(Fire(schedule.id, after(25), None, 1, "skipped_overlap", None))


def repeat_fire(world: World) -> None:
    world.fires.append(replace(world.fires[0], reason="skipped_overlap", execution_id=None))


def skip_ahead(world: World) -> None:
    world.schedules["minutely"] = replace(
        world.schedules["minutely"], anchor_at=after(-30), next_run_at=after(60)
    )


def stop(world: World) -> None:
    world.schedules["steady"] = replace(world.schedules["steady"], next_run_at=None)


def forget(world: World) -> None:
    world.schedules["minutely"] = replace(world.schedules["minutely"], next_run_at=after(-60))


def edit(world: World) -> None:
    world.schedules["steady"] = replace(world.schedules["steady"], version=2)


def fire_by_hand(world: World) -> None:
    schedule_id = world.schedules["by hand"].id
    world.fires.append(Fire(schedule_id, after(5), None, 1, "skipped_overlap", None))


def link_a_skipped_fire(world: World) -> None:
    change(world.fires, 0, reason="skipped_overlap")


def swap_fires(world: World) -> None:
    first, second = world.fires[0].execution_id, world.fires[2].execution_id
    change(world.fires, 0, execution_id=second)
    change(world.fires, 2, execution_id=first)


def lose_an_error(world: World) -> None:
    del world.errors[0]


def lose_a_dead_letter(world: World) -> None:
    world.dead_letters.clear()


def bury_the_living(world: World) -> None:
    world.dead_letters.add(world.executions[0].id)


def leave_an_error_open(world: World) -> None:
    change(world.errors, -1, recovery_status="retrying")


def call_beyond_the_attempts(world: World) -> None:
    change(world.calls, 0, attempt=2)


def call_without_attempt(world: World) -> None:
    change(world.calls, 0, attempt=None)


def call_elsewhere(world: World) -> None:
    change(world.calls, 0, endpoint="/slow")


def complete_what_was_refused(world: World) -> None:
    change(world.calls, 0, status=503)


def complete_what_was_broken_off(world: World) -> None:
    change(world.calls, 0, status=ledger.CUT)


def fail_what_was_answered(world: World) -> None:
    change(world.calls, 1, status=200)


def fail_what_was_never_called(world: World) -> None:
    del world.calls[1]


def lose_a_schedule(world: World) -> None:
    world.expected.update(expects("gone", ends=1, always="completed"))


def want_more(world: World) -> None:
    world.expected.update(expects("dead", ends=2, always="failed"))


def want_success(world: World) -> None:
    world.expected.update(expects("dead", ends=0, always="completed"))


LIES: list[tuple[Callable[[World], None], str]] = [
    (delete_fire, "'steady' has no record of its fire at 2026-11-21T09:00:20.000Z"),
    (add_fire, "'steady' has a record of a fire that its rule does not have, at"),
    (repeat_fire, "'steady' has more than one record of its fire at 2026-11-21T09:00:10.000Z"),
    (skip_ahead, "'minutely' has no record of its fire at 2026-11-21T09:00:00.000Z"),
    (stop, "'steady' has stopped: it has no next run"),
    (forget, "'minutely' is due since 2026-11-21T08:59:00.000Z and not dispatched"),
    (edit, "'steady' was edited (version 2)"),
    (fire_by_hand, "'by hand' has no rule in time and yet records of fires"),
    (link_a_skipped_fire, "is skipped_overlap and yet has an execution"),
    (swap_fires, "Execution #3 is not of the fire of 'steady' at 2026-11-21T09:00:10.000Z"),
    (lose_an_error, "Execution #2 is completed after 2 attempts, of which 0 have an error record"),
    (lose_a_dead_letter, "Execution #4 failed and is not among the dead letters"),
    (bury_the_living, "Execution #1 is completed and yet among the dead letters"),
    (leave_an_error_open, "#4 was given up, but its last error is 'retrying' instead of escalated"),
    (call_beyond_the_attempts, "Execution #1 made 1 attempts, but attempt 2 was called"),
    (call_without_attempt, "for execution #1 does not say its attempt"),
    (call_elsewhere, "carries the key of execution #1, which is not for it"),
    (complete_what_was_refused, "#1 is completed, but the calls of its last attempt got [503]"),
    (complete_what_was_broken_off, "#1 is completed, but the calls of its last attempt got [0]"),
    (fail_what_was_answered, "Execution #2 has an error in attempt 1, which its endpoint answered"),
    (fail_what_was_never_called, "#2 has an error in attempt 1, which its endpoint never saw"),
    (lose_a_schedule, "The demo's schedule 'gone' is missing"),
    (want_more, "'dead' has 1 ends (failed) instead of 2"),
    (want_success, "'dead' must always end completed, but did otherwise: {'failed': 1}"),
]


@pytest.mark.parametrize(("lie", "sentence"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_every_lie_is_named(world: World, lie: Callable[[World], None], sentence: str) -> None:
    lie(world)

    assert sentence in "\n".join(world.disagreements())


def missed(world: World, *, count: int) -> None:
    """The first two fires of `steady` become one summary."""
    delete_fire(world)
    first = world.fires.pop(0)
    world.executions = [one for one in world.executions if one.id != first.execution_id]
    world.calls = [one for one in world.calls if one.idempotency_key != str(first.execution_id)]
    world.fires.append(
        Fire(first.schedule_id, after(10), after(20), count, "missed_coalesced", None)
    )


def test_a_summary_stands_for_the_fires_it_counts(world: World) -> None:
    missed(world, count=2)

    assert world.disagreements() == []


def test_a_summary_that_counts_wrongly_is_named(world: World) -> None:
    missed(world, count=3)

    assert world.disagreements() == [
        "'steady' has a summary that counts wrongly, from 2026-11-21T09:00:10.000Z"
    ]


def test_an_attempt_lost_before_its_call_needs_none(world: World) -> None:
    change(world.errors, 0, error_class="lost")
    del world.calls[1]

    assert world.disagreements() == []


def test_an_attempt_before_the_endpoints_listened_needs_no_call(world: World) -> None:
    del world.calls[1]
    found = world.evidence()

    too_early = judge.judge(replace(found, listening_since=after(21)), world.expected)
    in_time = judge.judge(replace(found, listening_since=after(19)), world.expected)

    assert too_early == []
    assert len(in_time) == 1


def test_the_report_counts_and_measures_every_schedule(world: World) -> None:
    found = report.summarise(world.evidence(), [])

    steady = next(one for one in found.schedules if one.name == "steady")
    assert found.agrees
    assert steady.fires == {"dispatched": 3}
    assert steady.executions == {"completed": 3}
    assert (steady.start_latency_ms_p50, steady.start_latency_ms_p95) == (100.0, 100.0)
    assert (steady.errors, steady.recovery) == ({"transient": 1}, {"resolved": 1})


def test_start_latency_is_that_of_the_first_attempt(world: World) -> None:
    change(world.executions, 3, started_at=after(30))

    found = report.summarise(world.evidence(), [])

    dead = next(one for one in found.schedules if one.name == "dead")
    assert dead.start_latency_ms_p50 == 100.0


def test_a_person_reads_a_table_and_each_disagreement(world: World) -> None:
    console = Console(width=150, file=io.StringIO())

    report.show(report.summarise(world.evidence(), ["Something [odd] happened"]), console)

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "1 escalated, 1 resolved" in text
    assert "- Something [odd] happened." in text
    assert "The ledgers disagree" in text


def test_the_json_document_can_be_read_back(world: World) -> None:
    document = json.loads(json.dumps(report.summarise(world.evidence(), ["no"]).as_json()))

    assert document["agrees"] is False
    assert document["disagreements"] == ["no"]
    assert {one["name"] for one in document["schedules"]} == set(world.schedules)


def test_the_demo_has_every_kind_every_priority_and_three_task_types() -> None:
    demo = demo_schedules(url=URL, now=NINE, history=["ls"])

    kinds = {one.definition.get("schedule_type", "manual") for one in demo}
    assert kinds == {"interval", "cron", "one_time", "manual"}
    assert {one.definition.get("priority", "normal") for one in demo} == {
        "critical",
        "high",
        "normal",
        "low",
    }
    assert {one.definition["task_type"] for one in demo} == {
        "http_request",
        "shell_command",
        "agent",
    }
    assert len({one.name for one in demo}) == len(demo)


SCRATCH = """
CREATE TABLE task_schedules (id uuid, name text, trigger_type text, schedule_type text,
    schedule_config jsonb, timezone text, priority text, enabled bool, anchor_at timestamptz,
    next_run_at timestamptz, version int, created_at timestamptz DEFAULT now());
CREATE TABLE fire_records (schedule_id uuid, nominal_at timestamptz, nominal_until timestamptz,
    count bigint, reason text, execution_id uuid, cause text DEFAULT '');
CREATE TABLE task_executions (id uuid, number bigint, schedule_id uuid, trigger text,
    snapshot jsonb, nominal_at timestamptz, due_at timestamptz, created_at timestamptz,
    started_at timestamptz, completed_at timestamptz, status text, attempt int,
    dead_letter_at timestamptz, outcome text);
CREATE TABLE cycles (id int GENERATED ALWAYS AS IDENTITY, execution_id uuid, tier text);
CREATE TABLE execution_steps (id uuid, execution_id uuid, position int, name text, status text,
    config jsonb);
CREATE TABLE error_records (id int GENERATED ALWAYS AS IDENTITY, execution_id uuid,
    schedule_id uuid, attempt int, error_class text, message text, recovery_status text,
    started_at timestamptz);
CREATE TABLE dead_letters (execution_id uuid);
"""


@pytest.fixture
def dsn() -> Iterator[str]:
    """A schema of its own with the tables that the judge reads."""
    name = f"demo_{uuid4().hex}"
    address = os.environ["DATABASE_URL"]
    joint = "&" if "?" in address else "?"
    own = f"{address}{joint}options=-csearch_path%3D{name}"
    with psycopg.connect(address, autocommit=True) as outside:
        outside.execute(f"CREATE SCHEMA {name}".encode())
        with psycopg.connect(own) as inside:
            inside.execute(SCRATCH)
        yield own
        outside.execute(f"DROP SCHEMA {name} CASCADE".encode())


def store(world: World, dsn: str, path: Path) -> None:
    """Write the world down as the product and the endpoint server would have."""
    with psycopg.connect(dsn) as tables:
        for schedule in world.schedules.values():
            insert(tables, "task_schedules", asdict(schedule))
        for fire in world.fires:
            insert(tables, "fire_records", asdict(fire))
        for execution in world.executions:
            row = asdict(execution)
            url, task_type = row.pop("url"), row.pop("task_type")
            row["snapshot"] = {"task_type": task_type, "task_config": {"url": url}}
            insert(tables, "task_executions", row)
        for error in world.errors:
            insert(tables, "error_records", asdict(error))
        for execution_id in world.dead_letters:
            insert(tables, "dead_letters", {"execution_id": execution_id})
    path.write_text("".join(f"{json.dumps(asdict(one))}\n" for one in world.calls))


def insert(open_: psycopg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    values = [Jsonb(one) if isinstance(one, dict) else one for one in row.values()]
    places = ", ".join(["%s"] * len(row))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"
    open_.execute(statement.encode(), values)


def judged(world: World, dsn: str, path: Path) -> list[str]:
    found = evidence.collect(dsn, path, judged_at=after(35))
    return judge.judge(replace(found, read_at=after(36)), world.expected)


def test_what_is_read_from_tables_and_ledger_agrees(world: World, dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    store(world, dsn, path)

    assert judged(world, dsn, path) == []


def test_tampering_with_tables_or_ledger_is_seen(world: World, dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    store(world, dsn, path)

    with psycopg.connect(dsn) as tables:
        tables.execute("DELETE FROM task_executions WHERE number = 1")
    with path.open("a") as file:
        file.write(json.dumps(asdict(replace(world.calls[2], call="again"))) + "\n")

    found = "\n".join(judged(world, dsn, path))
    assert "was dispatched, but its execution is missing" in found
    assert "belongs to no execution" in found
    assert "Execution #2 called /steady 2 times in attempt 2" in found


def test_ends_are_counted_by_schedule_and_status(world: World, dsn: str, tmp_path: Path) -> None:
    store(world, dsn, tmp_path / "calls.jsonl")

    ended = evidence.ended(dsn)

    assert ended["steady"] == {"completed": 3}
    assert ended["dead"] == {"failed": 1}
    assert "minutely" not in ended


@pytest.mark.django_db
def test_the_tables_of_the_product_have_the_columns_that_are_read() -> None:
    with connection.cursor() as cursor:
        for query, row_type in (
            (evidence.SCHEDULES, Schedule),
            (evidence.FIRES, Fire),
            (evidence.EXECUTIONS, Execution),
            (evidence.ERRORS, Error),
            (evidence.CYCLES, Cycle),
            (evidence.STEPS, Step),
        ):
            cursor.execute(query)
            assert [one.name for one in cursor.description] == [
                one.name for one in fields(row_type)
            ]
