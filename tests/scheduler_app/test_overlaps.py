"""An execution beside others of its schedule: each overlap policy in the rows it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from executions_app import clock, ids, lifecycle, overlaps
from executions_app.ledger import Claimed
from executions_app.models import Event, Execution
from executions_app.states import Outcome, Trigger
from scheduler_app import admission, consequences, dispatcher, fires
from scheduler_app.admission import StillActive
from scheduler_app.limiting.labels import Labels
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.policies import OverlapPolicy
from tests import verbs

MakeSchedule = Callable[..., Schedule]
SECOND = timedelta(seconds=1)
MOMENTS: Iterator[int] = count()


def fire(schedule: Schedule) -> FireRecord:
    """Let one more fire come due, and dispatch it; each at an instant of its own."""
    nominal_at = clock.now() - SECOND + next(MOMENTS) * timedelta(microseconds=1)
    Schedule.objects.filter(id=schedule.id).update(next_run_at=nominal_at)
    dispatcher.dispatch_due()
    return FireRecord.objects.get(schedule_id=schedule.id, nominal_at=nominal_at)


def states(schedule: Schedule) -> list[str]:
    """Of each execution, in the order of their making: its status, or that it is held."""
    rows = Execution.objects.filter(schedule_id=schedule.id).order_by("nominal_at", "number")
    held = overlaps.held_by(schedule.id)
    return ["held" if one.held_by == held else one.status for one in rows]


def begin(record: FireRecord) -> Claimed:
    assert record.execution_id is not None
    (claimed,) = lifecycle.claim([record.execution_id], worker_id="a worker")
    return claimed


def end(claimed: Claimed) -> None:
    """It completes, and the next round sees it."""
    verbs.complete(claimed, output=None)
    settle()


def settle() -> None:
    consequences.draw()
    dispatcher.dispatch_due()


@pytest.mark.django_db
def test_buffer_one_lets_one_wait_and_skips_the_rest(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(overlap_policy="buffer_one")

    records = [fire(schedule) for _ in range(4)]

    assert [one.reason for one in records] == ["dispatched"] * 2 + ["skipped_overlap"] * 2
    assert states(schedule) == ["queued", "held"]
    assert records[1].execution_id is not None


@pytest.mark.django_db
def test_what_waits_is_queued_when_the_active_one_has_ended(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(overlap_policy="buffer_one")
    first, second = fire(schedule), fire(schedule)

    end(begin(first))

    assert states(schedule) == ["completed", "queued"]
    assert begin(second).id == second.execution_id


@pytest.mark.django_db
def test_buffer_all_queues_one_after_the_other_in_order(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(overlap_policy="buffer_all")
    records = [fire(schedule) for _ in range(3)]
    seen = [states(schedule)]

    for record in records:
        end(begin(record))
        seen.append(states(schedule))

    assert seen == [
        ["queued", "held", "held"],
        ["completed", "queued", "held"],
        ["completed", "completed", "queued"],
        ["completed"] * 3,
    ]


@pytest.mark.django_db
def test_buffer_all_lets_no_more_wait_than_its_limit(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(overlap_policy="buffer_all", buffer_limit=2)

    records = [fire(schedule) for _ in range(5)]

    assert states(schedule) == ["queued", "held", "held"]
    assert [one.reason for one in records[3:]] == ["skipped_overlap"] * 2


@pytest.mark.django_db
def test_a_failed_attempt_that_is_tried_again_still_stands_in_the_way(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(overlap_policy="buffer_one")
    first, _ = fire(schedule), fire(schedule)
    claimed = begin(first)

    with transaction.atomic():
        lifecycle.retry_at(
            claimed,
            due_at=clock.now() + 60 * SECOND,
            outcome=Outcome.ERROR,
            error_id=claimed.id,
        )
    settle()

    assert states(schedule) == ["pending", "held"]


@pytest.mark.django_db
def test_cancel_running_asks_what_runs_to_stop_and_waits_for_it(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(overlap_policy="cancel_running")
    running = begin(fire(schedule))

    second = fire(schedule)
    first = Execution.objects.get(id=running.id)
    seen = states(schedule)
    verbs.cancelled(running)
    settle()

    assert first.cancel_requested_at is not None
    assert seen == ["running", "held"]
    assert states(schedule) == ["cancelled", "queued"]
    assert second.reason == "dispatched"


@pytest.mark.django_db
def test_cancel_running_takes_the_place_of_what_has_not_started(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(overlap_policy="cancel_running")
    running = begin(fire(schedule))
    fire(schedule)

    fire(schedule)
    while_it_runs = states(schedule)
    verbs.cancelled(running)
    settle()
    fire(schedule)

    assert while_it_runs == ["running", "cancelled", "held"]
    assert states(schedule) == ["cancelled", "cancelled", "cancelled", "queued"]
    told = Event.objects.filter(schedule_id=schedule.id, type="execution:cancelled")
    assert told.count() == 3


@pytest.mark.django_db
def test_allow_lets_all_run_at_once(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(overlap_policy="allow", jitter_ms=1)

    for _ in range(3):
        fire(schedule)
    dispatcher.dispatch_due()

    assert set(states(schedule)) <= {"queued", "pending"}
    assert len(states(schedule)) == 3


@pytest.mark.django_db
def test_another_schedule_is_not_in_the_way(make_schedule: MakeSchedule) -> None:
    one = make_schedule("one", overlap_policy="buffer_one")
    other = make_schedule("other", overlap_policy="buffer_one")
    fire(one)
    fire(other)
    waiting = fire(other)

    end(begin(FireRecord.objects.get(schedule_id=one.id)))

    assert states(one) == ["completed"]
    assert states(other) == ["queued", "held"]
    assert waiting.reason == "dispatched"


@pytest.mark.django_db
def test_what_waits_for_a_deleted_schedule_is_found_by_the_sweep(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(overlap_policy="buffer_one")
    first, second = begin(fire(schedule)), fire(schedule)
    schedule.delete()
    end(first)
    assert second.execution_id is not None
    waited = Execution.objects.get(id=second.execution_id).held_by

    left = admission.let_go_all(limit=10)

    assert waited == overlaps.held_by(second.schedule_id)
    assert Execution.objects.get(id=second.execution_id).held_by == ""
    assert left == ""


@pytest.mark.django_db
def test_the_sweep_lets_nothing_go_while_something_is_active(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(overlap_policy="buffer_all")
    for _ in range(3):
        fire(schedule)

    admission.let_go_all(limit=10)

    assert states(schedule) == ["queued", "held", "held"]


@pytest.mark.django_db
def test_the_sweep_looks_at_a_bounded_number_and_goes_on_from_there(
    make_schedule: MakeSchedule,
) -> None:
    several = [make_schedule(f"job {n}", overlap_policy="buffer_one") for n in range(3)]
    for schedule in several:
        fire(schedule)
        fire(schedule)
        Execution.objects.filter(schedule_id=schedule.id, held_by="").update(
            status="cancelled", completed_at=clock.now()
        )
    in_order = sorted(str(one.id) for one in several)

    after = admission.let_go_all(limit=2)
    waiting = [states(one)[-1] for one in sorted(several, key=lambda one: str(one.id))]
    last = admission.let_go_all(limit=2, after=after)

    assert (after, last) == (in_order[1], "")
    assert waiting == ["pending", "pending", "held"]
    assert overlaps.waited_for(most=10) == []


def start_by_hand(schedule: Schedule, override: OverlapPolicy | None = None) -> None:
    with transaction.atomic():
        verdict = admission.admit(schedule, override=override)
        verdict.check()
        new = fires.new_execution(
            schedule,
            ids.new(clock.now()),
            trigger=Trigger.MANUAL,
            due_at=clock.now(),
            born_with=Labels(),
        )
        lifecycle.create([replace(new, held_by=verdict.held_by)])


@pytest.mark.django_db
def test_a_start_by_hand_obeys_the_overlap_policy(make_schedule: MakeSchedule) -> None:
    skipping, buffering = (
        make_schedule("skip"),
        make_schedule("buffer", overlap_policy="buffer_one"),
    )
    start_by_hand(skipping)
    start_by_hand(buffering)

    start_by_hand(buffering)

    assert states(buffering) == ["pending", "held"]
    with pytest.raises(StillActive, match=r"#\d+ \(pending\).*'skip' admits no further"):
        start_by_hand(skipping)
    with pytest.raises(StillActive, match="buffer_one"):
        start_by_hand(buffering)


@pytest.mark.django_db
def test_a_person_may_start_another_one_all_the_same(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    start_by_hand(schedule)

    start_by_hand(schedule, OverlapPolicy.ALLOW)

    assert states(schedule) == ["pending", "pending"]


@pytest.mark.django_db(transaction=True)
def test_of_many_that_start_it_at_once_one_comes_in(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(overlap_policy="buffer_one")

    def start(_: int) -> str:
        try:
            start_by_hand(schedule)
        except StillActive:
            return "refused"
        else:
            return "came in"
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(start, range(8)))

    assert sorted(answers) == ["came in"] * 2 + ["refused"] * 6
    assert sorted(states(schedule)) == ["held", "pending"]


@pytest.mark.django_db
def test_a_schedule_without_buffers_costs_its_outcomes_no_statement_more(
    make_schedule: MakeSchedule,
) -> None:
    def looks_at_what_waits(schedule: Schedule) -> bool:
        verbs.complete(begin(fire(schedule)), output=None)
        with CaptureQueriesContext(connection) as captured:
            consequences.draw()
        return any(overlaps.HELD_BY in one["sql"] for one in captured)

    assert not looks_at_what_waits(make_schedule("plain"))
    assert looks_at_what_waits(make_schedule("buffering", overlap_policy="buffer_one"))


@pytest.mark.django_db
def test_a_window_that_makes_no_sense_keeps_nobody_waiting(make_schedule: MakeSchedule) -> None:
    both = [make_schedule(name, overlap_policy="buffer_one") for name in ("broken", "sound")]
    for schedule in both:
        running = begin(fire(schedule))
        fire(schedule)
        verbs.complete(running, output=None)
    nonsense = {"hours": ["whenever"]}
    Schedule.objects.filter(name="broken").update(execution_window=nonsense)

    consequences.draw()

    assert [states(one) for one in both] == [["completed", "pending"]] * 2


@pytest.mark.django_db
def test_what_is_let_go_into_a_later_window_expires_as_much_later(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(overlap_policy="buffer_one", run_ttl_ms=60_000)
    running, waiting = begin(fire(schedule)), fire(schedule)
    in_two_days = clock.now() + timedelta(days=2)
    window = {"weekdays": [f"{in_two_days:%a}".lower()]}
    Schedule.objects.filter(id=schedule.id).update(execution_window=window)
    verbs.complete(running, output=None)

    consequences.draw()

    row = Execution.objects.get(nominal_at=waiting.nominal_at)
    assert row.due_at.date() == in_two_days.date()
    assert row.expires_at == row.due_at + timedelta(minutes=1)
