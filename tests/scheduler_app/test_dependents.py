"""Dependent schedules: started by what their upstreams came to, once for each outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from errors_app.models import ErrorRecord
from executions_app import lifecycle, prepared
from executions_app.audit import SYSTEM
from executions_app.ledger import Claimed, Leave
from executions_app.models import Execution, OutcomeInbox
from executions_app.states import ExecutionStatus, Outcome
from scheduler_app import consequences, schedules
from scheduler_app.models import DependencyMark, FireRecord, Schedule
from scheduler_app.sources import handing_on
from tests import verbs
from tests.factories import ScheduleFactory
from tests.verbs import complete

pytestmark = pytest.mark.django_db(transaction=True)

MANUAL = {"trigger_type": "manual", "schedule_type": "", "schedule_config": {}}


def upstream(owner: User, name: str = "upstream") -> Schedule:
    return ScheduleFactory.create(owner=owner, name=name, overlap_policy="allow", **MANUAL)


def dependent(owner: User, *upstreams: Schedule, on: str = "success", **words: Any) -> Schedule:
    config = {"upstreams": [one.name for one in upstreams], "on": on}
    mode = words.pop("mode", "any")
    return ScheduleFactory.create(
        owner=owner,
        **{**MANUAL, "trigger_type": "dependent", "overlap_policy": "allow", **words},
        trigger_config={**config, "mode": mode},
    )


def claimed(schedule: Schedule, **parameters: Any) -> Claimed:
    execution_id = schedules.trigger(schedule, actor=SYSTEM, parameters=parameters)
    (one,) = lifecycle.claim([execution_id], worker_id="w")
    return one


def succeed(schedule: Schedule, output: Any = None) -> UUID:
    one = claimed(schedule)
    complete(one, output=output)
    return one.id


def fail(schedule: Schedule) -> UUID:
    one = claimed(schedule)
    with transaction.atomic():
        lifecycle.leave_now(
            Leave(
                one.id, one.lease_token, ExecutionStatus.FAILED, Outcome.ERROR, is_dead_letter=True
            )
        )
    return one.id


def cancel(schedule: Schedule) -> UUID:
    one = claimed(schedule)
    lifecycle.leave_all([lifecycle.cancellation(one)])
    return one.id


ENDS = {"completed": succeed, "failed": fail, "cancelled": cancel}


def started(schedule: Schedule) -> list[Execution]:
    return list(Execution.objects.filter(schedule_id=schedule.id).order_by("number"))


def records(schedule: Schedule) -> list[tuple[str, str]]:
    fires = FireRecord.objects.filter(schedule_id=schedule.id).order_by("nominal_at")
    return [(one.cause, one.reason) for one in fires]


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        ("success", ["completed"]),
        ("failure", ["failed"]),
        ("end", ["completed", "failed", "cancelled"]),
    ],
)
def test_an_outcome_starts_those_who_wait_for_it(owner: User, on: str, wanted: list[str]) -> None:
    first = upstream(owner)
    second = dependent(owner, first, on=on)

    ended = {status: end(first) for status, end in ENDS.items()}
    consequences.draw()

    led = [row.parameters["upstream"]["upstream"] for row in started(second)]
    assert [one["status"] for one in led] == wanted
    assert [one["execution_id"] for one in led] == [str(ended[status]) for status in wanted]
    assert {row.trigger for row in started(second)} == {"dependency"}


def test_the_result_and_the_correlation_are_handed_on(owner: User) -> None:
    first = upstream(owner)
    second = dependent(owner, first)
    by_hand = schedules.trigger(first, actor=SYSTEM, correlation_id="a request")
    (one,) = lifecycle.claim([by_hand], worker_id="w")
    complete(one, output={"rows": 3})

    consequences.draw()

    (execution,) = started(second)
    assert execution.correlation_id == "a request"
    assert execution.parameters == {
        "upstream": {
            "upstream": {
                "execution_id": str(by_hand),
                "status": "completed",
                "outcome": "ok",
                "result": {"rows": 3},
                "result_truncated": False,
            }
        }
    }


def test_a_result_that_is_too_long_is_left_out_and_says_so(owner: User) -> None:
    first = upstream(owner)
    second = dependent(owner, first)
    succeed(first, "x" * (handing_on.MOST_BYTES_OF_ONE + 1))

    consequences.draw()

    (led,) = started(second)[0].parameters["upstream"].values()
    assert (led["result"], led["result_truncated"]) == (None, True)


def test_a_start_leaves_a_record_with_its_cause(owner: User) -> None:
    first = upstream(owner)
    second = dependent(owner, first)
    execution_id = succeed(first)

    consequences.draw()

    fire = FireRecord.objects.get(schedule_id=second.id)
    (execution,) = started(second)
    ended_at = Execution.objects.get(id=execution_id).completed_at
    assert (fire.cause, fire.reason) == (f"dependency:{execution_id}", "dispatched")
    assert fire.nominal_at == execution.nominal_at == ended_at
    assert fire.execution_id == execution.id
    second.refresh_from_db()
    assert second.fired_count == 1


def test_an_outcome_that_is_drawn_twice_starts_once(owner: User) -> None:
    first = upstream(owner)
    second = dependent(owner, first)
    succeed(first)
    again = OutcomeInbox.objects.get()

    consequences.draw()
    again.save(force_insert=True)
    consequences.draw()

    assert len(started(second)) == 1


def test_with_any_each_outcome_of_each_upstream_starts_it(owner: User) -> None:
    both = [upstream(owner, "a"), upstream(owner, "b")]
    second = dependent(owner, *both)
    succeed(both[0])
    succeed(both[1])
    succeed(both[0])

    consequences.draw()

    assert [list(row.parameters["upstream"]) for row in started(second)] == [["a"], ["b"], ["a"]]


def test_with_all_it_waits_for_every_upstream_and_then_anew(owner: User) -> None:
    both = [upstream(owner, "a"), upstream(owner, "b")]
    last = dependent(owner, *both, mode="all")
    seen = []
    for one in (both[0], both[0], both[1], both[1], both[0]):
        succeed(one)
        consequences.draw()
        seen.append(len(started(last)))

    assert seen == [0, 0, 1, 1, 2]
    assert [set(row.parameters["upstream"]) for row in started(last)] == [{"a", "b"}] * 2
    assert not DependencyMark.objects.exists()


def test_with_all_the_newest_outcome_of_each_is_handed_on(owner: User) -> None:
    both = [upstream(owner, "a"), upstream(owner, "b")]
    last = dependent(owner, *both, mode="all")
    succeed(both[0], "old")
    succeed(both[0], "new")
    last_id = succeed(both[1])

    consequences.draw()

    (execution,) = started(last)
    assert execution.parameters["upstream"]["a"]["result"] == "new"
    assert records(last) == [(f"dependency:{last_id}", "dispatched")]


def test_an_outcome_of_another_kind_does_not_count_for_all(owner: User) -> None:
    both = [upstream(owner, "a"), upstream(owner, "b")]
    last = dependent(owner, *both, mode="all")
    fail(both[0])
    succeed(both[1])

    consequences.draw()

    assert started(last) == []
    assert DependencyMark.objects.get().upstream_id == both[1].id


def test_a_chain_of_dependents_runs_from_end_to_end(owner: User) -> None:
    first = upstream(owner, "1")
    second = dependent(owner, first, name="2")
    third = dependent(owner, second, name="3")
    succeed(first)
    consequences.draw()
    (execution,) = started(second)
    with transaction.atomic():
        verbs.queue_due(limit=1, ids=[execution.id])
    (one,) = lifecycle.claim([execution.id], worker_id="w")
    complete(one, output=None)

    consequences.draw()

    assert len(started(third)) == 1


def test_one_outcome_starts_all_who_wait_for_it(owner: User) -> None:
    first = upstream(owner)
    many = [dependent(owner, first) for _ in range(5)]
    succeed(first)

    consequences.draw()

    assert [len(started(one)) for one in many] == [1] * 5


def test_a_paused_or_disabled_one_is_passed_over_with_a_record(owner: User) -> None:
    first = upstream(owner)
    paused, disabled = dependent(owner, first), dependent(owner, first)
    later = datetime.now(UTC) + timedelta(hours=1)
    schedules.pause(paused.id, reason="", until=later, actor=SYSTEM)
    schedules.disable(disabled.id, actor=SYSTEM)
    cause = f"dependency:{succeed(first)}"

    consequences.draw()

    for one in (paused, disabled):
        assert started(one) == []
        assert (cause, "skipped_paused") in records(one)


def test_the_overlap_policy_holds_for_dependents(owner: User) -> None:
    first = upstream(owner)
    second = dependent(owner, first, overlap_policy="skip")
    causes = [f"dependency:{succeed(first)}" for _ in range(2)]

    consequences.draw()

    assert len(started(second)) == 1
    assert records(second) == [(causes[0], "dispatched"), (causes[1], "skipped_overlap")]


def test_an_outcome_of_before_the_dependent_does_not_start_it(owner: User) -> None:
    first = upstream(owner)
    succeed(first)
    second = dependent(owner, first)

    consequences.draw()

    assert started(second) == []


def test_a_corrupt_dependent_disables_itself_and_nobody_else(owner: User) -> None:
    first = upstream(owner)
    broken, sound = dependent(owner, first), dependent(owner, first)
    Schedule.objects.filter(id=broken.id).update(retry_policy={"max_retries": "many"})
    succeed(first)

    consequences.draw()

    broken.refresh_from_db()
    first.refresh_from_db()
    assert not broken.enabled
    assert ErrorRecord.objects.filter(schedule_id=broken.id).exists()
    assert (len(started(broken)), len(started(sound)), first.success_count) == (0, 1, 1)


def tenant(number: int) -> dict[str, int] | None:
    """The result of the third is missing."""
    return None if number == 2 else {"tenant": number}


def test_an_outcome_without_what_a_key_needs_costs_no_other_its_start(owner: User) -> None:
    first = upstream(owner)
    keyed = dependent(owner, first, limit_key="t:{upstream.upstream.result.tenant}")
    causes = [f"dependency:{succeed(first, tenant(number))}" for number in range(5)]
    del causes[2]

    consequences.draw()

    keyed.refresh_from_db()
    assert keyed.enabled
    assert keyed.fired_count == 4
    assert [one.limit_key for one in started(keyed)] == ["t:0", "t:1", "t:3", "t:4"]
    assert records(keyed) == [(cause, "dispatched") for cause in causes]
    assert ErrorRecord.objects.filter(schedule_id=keyed.id).count() == 1


def test_with_all_an_outcome_that_could_not_start_it_counts_for_nothing(owner: User) -> None:
    both = [upstream(owner, "a"), upstream(owner, "b")]
    last = dependent(owner, *both, mode="all", limit_key="{upstream.b.result.tenant}")
    succeed(both[0])
    succeed(both[1])
    consequences.draw()
    before = (len(started(last)), DependencyMark.objects.get().upstream_id)

    succeed(both[1], {"tenant": "acme"})
    consequences.draw()

    assert before == (0, both[0].id)
    assert [one.limit_key for one in started(last)] == ["acme"]
    assert not DependencyMark.objects.exists()


def test_outcomes_behind_the_one_that_disabled_a_dependent_are_recorded(owner: User) -> None:
    first = upstream(owner)
    broken = dependent(owner, first)
    Schedule.objects.filter(id=broken.id).update(retry_policy={"max_retries": "many"})
    succeed(first)
    later = f"dependency:{succeed(first)}"

    consequences.draw()

    broken.refresh_from_db()
    assert not broken.enabled
    assert records(broken) == [(later, "skipped_paused")]


def test_an_execution_that_a_person_requeues_is_another_outcome(owner: User) -> None:
    first = upstream(owner)
    on_failure, on_success = dependent(owner, first, on="failure"), dependent(owner, first)
    execution_id = fail(first)
    consequences.draw()
    with transaction.atomic():
        lifecycle.requeue([execution_id], budget=1)
        verbs.queue_due(limit=1, ids=[execution_id])
    (one,) = lifecycle.claim([execution_id], worker_id="w")
    complete(one, output=None)

    consequences.draw()

    assert (len(started(on_failure)), len(started(on_success))) == (1, 1)


def test_an_upstream_is_not_deleted_under_its_dependents(owner: User) -> None:
    first = upstream(owner)
    second = dependent(owner, first, name="nightly")

    with pytest.raises(schedules.Needed, match="nightly"):
        schedules.delete(first.id, actor=SYSTEM)

    schedules.delete(second.id, actor=SYSTEM)
    schedules.delete(first.id, actor=SYSTEM)
    assert not Schedule.objects.exists()


def test_without_dependents_a_draw_asks_for_none(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = upstream(owner)
    said: list[str] = []
    real = prepared.execute

    def listen(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        said.append(sql)
        return execute(sql, parameters, many, context)

    def hot(sql: str, parameters: Any = ()) -> Any:
        said.append(sql)
        return real(sql, parameters)

    def asked() -> bool:
        said.clear()
        succeed(first)
        with monkeypatch.context() as patch, connection.execute_wrapper(listen):
            patch.setattr(prepared, "execute", hot)
            consequences.draw()
        return any("upstreams" in sql or "dependency" in sql for sql in said)

    without = asked()
    dependent(owner, first)

    assert (without, asked()) == (False, True)


class Killed(BaseException):
    """What a beat that is killed does not catch."""


@pytest.mark.parametrize("mode", ["any", "all"])
def test_a_beat_killed_at_any_statement_leaves_one_start_for_each_outcome(
    owner: User, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = upstream(owner)
    second = dependent(owner, first, mode=mode)
    real, state = prepared.execute, {"left": 0}

    def step() -> None:
        state["left"] -= 1
        if state["left"] == 0:
            raise Killed

    def wrapper(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        step()
        return execute(sql, parameters, many, context)

    def hot(sql: str, parameters: Any = ()) -> Any:
        step()
        return real(sql, parameters)

    monkeypatch.setattr(prepared, "execute", hot)
    causes: list[str] = []
    for fatal in range(1, 60):
        state["left"] = 0
        causes.append(f"dependency:{succeed(first)}")
        state["left"] = fatal
        try:
            with connection.execute_wrapper(wrapper):
                consequences.draw()
        except Killed:
            consequences.draw()
        else:
            break

    assert fatal > 12
    assert records(second) == [(cause, "dispatched") for cause in causes]
    assert len(started(second)) == len(causes)
    assert not OutcomeInbox.objects.exists()
