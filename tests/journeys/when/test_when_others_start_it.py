"""What starts without a clock, and work that is the same as other work, over REST."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from executions_app.models import Execution
from tests.journeys.scenario import reaches
from tests.journeys.test_overlap import ran_one_at_a_time
from tests.journeys.when.door import Door, executions, fires
from tests.processes import System

pytestmark = pytest.mark.journey

MINUTE = timedelta(minutes=1)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def ends(system: System, triggered: dict[str, Any]) -> Execution:
    return reaches(system, triggered["execution_id"], "completed")


def test_a_trigger_by_hand_takes_parameters_and_is_made_once_for_a_key_of_the_caller(
    system: System, door: Door
) -> None:
    idle = door.create("by hand")
    path = f"scheduler/schedules/{idle['id']}/trigger"

    first = door.post(path, {"parameters": {"for": "today"}}, Idempotency_Key="one")
    again = door.ask("POST", path, {"parameters": {"for": "today"}}, Idempotency_Key="one")
    other = door.ask("POST", path, {"parameters": {"for": "tomorrow"}}, Idempotency_Key="one")

    assert ends(system, first).parameters == {"for": "today"}
    assert again.json()["execution_id"] == first["execution_id"]
    assert again.headers["Idempotent-Replay"] == "true"
    assert other.status_code == 422
    assert len(executions(idle["id"])) == 1
    assert door.disagreements(idle["id"]) == []


def test_a_dependent_of_any_runs_for_each_upstream_and_of_all_once(
    system: System, door: Door
) -> None:
    ups = [door.create(name) for name in ("orders", "stock")]
    names = [one["name"] for one in ups]
    kinds = {
        mode: door.create(
            mode,
            trigger_type="dependent",
            trigger_config={"upstreams": names, "mode": mode},
            overlap_policy="allow",
        )["id"]
        for mode in ("any", "all")
    }

    ran = [ends(system, door.trigger(one)) for one in ups]

    system.until(lambda: len(executions(kinds["any"])) == 2, what="one for each of them")
    system.until(lambda: executions(kinds["all"]), what="one for both")
    each, (both,) = executions(kinds["any"]), executions(kinds["all"])
    handed = [set(one.parameters["upstream"]) for one in each]
    assert sorted(handed, key=sorted) == [{"orders"}, {"stock"}]
    assert set(both.parameters["upstream"]) == set(names)
    assert {one.cause for one in fires(kinds["any"])} == {f"dependency:{one.id}" for one in ran}
    for one in (*each, both):
        reaches(system, one.id, "completed")
    assert [door.disagreements(one) for one in kinds.values()] == [[], []]


def test_work_of_a_key_is_answered_with_what_is_active(
    system: System, door: Door, gate: Path
) -> None:
    reports = door.create(
        "while active", {"until": str(gate)}, overlap_policy="allow", unique_key="report:{tenant}"
    )
    path = f"scheduler/schedules/{reports['id']}/trigger"

    first = door.ask("POST", path, {"parameters": {"tenant": "acme"}})
    second = door.ask("POST", path, {"parameters": {"tenant": "acme"}})
    other = door.ask("POST", path, {"parameters": {"tenant": "hooli"}})
    nobody = door.ask("POST", path, {})
    gate.touch()

    assert [one.status_code for one in (first, second, other, nobody)] == [202, 200, 202, 400]
    assert second.json()["execution_id"] == first.json()["execution_id"]
    assert second.json()["duplicate"] is True
    assert nobody.json()["errors"][0]["pointer"] == "/parameters/tenant"
    keys = {ends(system, one.json()).unique_key for one in (first, other)}
    assert keys == {"report:acme", "report:hooli"}
    third = door.trigger(reports, parameters={"tenant": "acme"})
    assert third["execution_id"] != first.json()["execution_id"]
    ends(system, third)


def test_work_of_a_key_is_not_done_again_for_a_time(system: System, door: Door) -> None:
    rare = door.create(
        "for a time",
        overlap_policy="allow",
        unique_key="rare",
        unique_mode="for_time",
        unique_for_ms=3_600_000,
    )

    first = door.trigger(rare)
    done = ends(system, first)
    second = door.trigger(rare)

    assert (second["execution_id"], second["duplicate"]) == (str(done.id), True)
    assert len(executions(rare["id"])) == 1


def test_what_is_called_again_and_again_runs_once_with_the_last_words(
    system: System, door: Door
) -> None:
    calm = door.create(
        "debounced",
        overlap_policy="allow",
        unique_key="calm",
        unique_mode="debounce",
        unique_for_ms=1_000,
    )

    door.post("scheduler/stop")  # so that it does not matter how long the calls take
    try:
        made = [door.trigger(calm, parameters={"call": number}) for number in (1, 2)]
        called_at = datetime.now(UTC)
        made.append(door.trigger(calm, parameters={"call": 3}))
    finally:
        door.post("scheduler/start")

    done = ends(system, made[-1])
    assert {one["execution_id"] for one in made} == {str(done.id)}
    assert done.parameters == {"call": 3}
    assert done.started_at is not None
    assert done.started_at - called_at >= timedelta(seconds=1)
    assert len(executions(calm["id"])) == 1


def test_what_replaces_ends_what_it_finds(system: System, door: Door, gate: Path) -> None:
    newest = door.create(
        "replacing",
        {"until": str(gate)},
        overlap_policy="allow",
        unique_key="it",
        unique_mode="replace",
    )

    first = door.trigger(newest)
    reaches(system, first["execution_id"], "running")
    second = door.trigger(newest)
    third = door.trigger(newest)
    for one in (first, second):
        reaches(system, one["execution_id"], "cancelled")
    gate.touch()

    ends(system, third)
    ran = executions(newest["id"])
    assert [one.status for one in ran] == ["cancelled", "cancelled", "completed"]
    assert ran_one_at_a_time(ran), "who replaces waits until the other has stopped"


def test_a_backfill_runs_its_range_so_many_at_once_after_it_was_shown(
    system: System, door: Door
) -> None:
    until = datetime.now(UTC).replace(second=0, microsecond=0) - 10 * MINUTE
    since = until - 7 * MINUTE
    yearly = door.create(
        "backfilled",
        {"seconds": 0.2},
        task_type="slow",
        schedule_type="interval",
        schedule_config={"interval_ms": 60_000},
        overlap_policy="skip",
        start_at=(until + 366 * 1440 * MINUTE).isoformat(),
    )
    path = f"scheduler/schedules/{yearly['id']}/backfills"
    words = {"from": since.isoformat(), "until": until.isoformat(), "max_concurrent": 2}

    plan = door.post(path, {**words, "dry_run": True})
    after_the_plan = (executions(yearly["id"]), door.get(path)["results"])
    made = door.post(path, words)
    place = f"{path}/{made['id']}"
    system.until(lambda: door.get(place)["status"] == "completed", what="it is over")

    wanted = [since + MINUTE * k for k in range(8)]
    assert plan["runs"] == len(wanted)
    assert [datetime.fromisoformat(one) for one in plan["first_fires"]] == wanted[:5]
    assert after_the_plan == ([], [])
    ran = executions(yearly["id"])
    assert [one.nominal_at for one in ran] == wanted
    assert {one.status for one in ran} == {"completed"}
    assert most_at_once(system, ran) <= 2
    assert len({one.created_at for one in ran}) < len(ran), "none were made together"
    assert [(one.nominal_at, one.reason) for one in fires(yearly["id"])] == [
        (at, "dispatched") for at in wanted
    ]
    assert {one.cause for one in fires(yearly["id"])} == {f"backfill:{made['id']}"}
    assert door.disagreements(yearly["id"]) == []


def most_at_once(system: System, ran: list[Execution]) -> int:
    """How many of them their handlers had begun and not ended, at most."""
    theirs = {str(one.id) for one in ran}
    running = most = 0
    for entry in system.entries():
        if entry["execution"] in theirs:
            running += 1 if entry["what"] == "began" else -1
            most = max(most, running)
    return most
