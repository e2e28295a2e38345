"""The simulated world agrees with the real one: same fires, same fates, same runs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F

from executions_app import clock, lifecycle
from executions_app.ledger import Claimed
from executions_app.models import AuditEntry, Event, Execution, OutcomeInbox
from executions_app.states import ExecutionStatus
from scheduler_app import consequences, dispatcher
from scheduler_app.foresight import recorded, simulate, simulation_measures
from scheduler_app.limiting import limits_in_force
from scheduler_app.models import FireRecord, Limit, Schedule
from scheduler_app.policies import OverlapPolicy
from tests.factories import ExecutionFactory
from tests.verbs import cancelled, complete

MakeSchedule = Callable[..., Schedule]
MINUTE = timedelta(minutes=1)
FIRES = 9


@pytest.fixture(autouse=True)
def _limits_of_this_test_only() -> Iterator[None]:
    """A process remembers the limits for a second."""
    limits_in_force.forget()
    yield
    limits_in_force.forget()


class Reality:
    """A real schedule whose minutes go by as fast as they can be worked through.

    Its rows are moved into the past instead of the clock into the future; workers are this test.
    """

    def __init__(self, schedule: Schedule, *, takes: float) -> None:
        self._id, self._takes = schedule.id, takes
        self._ends: list[tuple[float, UUID]] = []
        self._running: dict[UUID, Claimed] = {}
        self.starts = 0

    def live(self, minutes: int) -> list[str]:
        """The fates of the fires of so many minutes."""
        for minute in range(1, minutes + 1):
            self._end_those_before(minute)
            self._move_next_run_to_now()
            dispatcher.dispatch_due()
            self._work(minute)
        fires = FireRecord.objects.filter(schedule_id=self._id).order_by("created_at")
        return list(fires.values_list("reason", flat=True))

    def _move_next_run_to_now(self) -> None:
        schedule = Schedule.objects.get(id=self._id)
        assert schedule.next_run_at is not None
        ahead = schedule.next_run_at - clock.now()
        Schedule.objects.filter(id=self._id).update(
            next_run_at=F("next_run_at") - ahead, anchor_at=F("anchor_at") - ahead
        )

    def _end_those_before(self, minute: float) -> None:
        while self._ends and self._ends[0][0] <= minute:
            at, one = heapq.heappop(self._ends)
            if one in self._running:
                complete(self._running.pop(one), output=None)
                self._work(at)

    def _work(self, at: float) -> None:
        """Stop what was asked to, follow what ended, start what may."""
        for one in lifecycle.cancel_requests(list(self._running)):
            cancelled(self._running.pop(one))
        consequences.draw()
        dispatcher.release_due()
        queued = Execution.objects.filter(status=ExecutionStatus.QUEUED).order_by("due_at")
        for claimed in lifecycle.claim([one.id for one in queued], worker_id="w:1:1"):
            self._running[claimed.id] = claimed
            heapq.heappush(self._ends, (at + self._takes, claimed.id))
            self.starts += 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("overlap", OverlapPolicy)
def test_every_overlap_policy_comes_out_as_simulated(
    make_schedule: MakeSchedule, owner: User, overlap: OverlapPolicy
) -> None:
    schedule = make_schedule(overlap_policy=overlap)
    begin = schedule.next_run_at
    assert begin is not None
    takes = timedelta(minutes=2.5)

    def simulated(minutes: int) -> dict[str, int]:
        until = begin + (minutes - 1) * MINUTE
        measures = simulate.run(None, begin=begin, until=until, unrecorded=takes)
        foreseen = simulation_measures.document(measures)
        return {**foreseen["reasons"], "starts": foreseen["executions"]}

    foreseen = [simulated(minutes) for minutes in range(1, FIRES + 1)]
    reality = Reality(schedule, takes=2.5)
    fates = reality.live(FIRES)

    assert fates == list(_one_by_one(foreseen))
    assert reality.starts == foreseen[-1]["starts"]


def _one_by_one(foreseen: list[dict[str, int]]) -> Iterator[str]:
    """The fate of each fire, from how many of each there were up to it."""
    before: dict[str, int] = {}
    for one in foreseen:
        counts = {name: count for name, count in one.items() if name != "starts"}
        yield from (name for name in counts if counts[name] > before.get(name, 0))
        before = counts


def test_a_simulation_writes_nothing_and_leaves_nothing_behind(
    make_schedule: MakeSchedule, owner: User
) -> None:
    Limit.objects.create(id=UUID(int=1), key="task:shell_command", max_concurrent=1)
    for number in range(5):
        make_schedule(f"job {number}", max_concurrent=2, overlap_policy="buffer_all")
    tables = (Schedule, Execution, FireRecord, AuditEntry, Event, OutcomeInbox, Limit)
    before = {table: list(table.objects.order_by("pk").values()) for table in tables}
    now = clock.now()

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        measures = simulate.run(owner, begin=now, until=now + timedelta(days=1))

    assert measures.fires == 5 * 1440
    assert {table: list(table.objects.order_by("pk").values()) for table in tables} == before


def test_it_reads_as_much_for_many_schedules_as_for_one(
    make_schedule: MakeSchedule,
    owner: User,
    django_assert_max_num_queries: Callable[..., object],
) -> None:
    for number in range(30):
        make_schedule(f"job {number}")

    with django_assert_max_num_queries(5):  # type: ignore[attr-defined]
        simulate.read(owner, unrecorded=MINUTE)


def test_recorded_durations_are_taken_in_turn_and_lend_themselves_to_their_type(
    make_schedule: MakeSchedule, owner: User
) -> None:
    known, unknown = make_schedule("known"), make_schedule("unknown")
    other = make_schedule(
        "other", task_type="http_request", task_config={"url": "http://127.0.0.1:1/"}
    )
    for seconds in (10, 20, 30):
        _ended(known, took=timedelta(seconds=seconds))

    actors, _ = simulate.read(owner, unrecorded=timedelta(seconds=7))

    durations = {one.prospect.name: sorted(one.durations) for one in actors}
    assert durations == {
        "known": [timedelta(seconds=one) for one in (10, 20, 30)],
        "unknown": [timedelta(seconds=20)],
        "other": [timedelta(seconds=7)],
    }
    assert recorded.durations([unknown.id, other.id]) == {}


def _ended(schedule: Schedule, *, took: timedelta) -> None:
    one = ExecutionFactory.create(owner=schedule.owner, schedule_id=schedule.id)
    now = clock.now()
    Execution.objects.filter(id=one.id).update(
        status=ExecutionStatus.COMPLETED, started_at=now - took, completed_at=now
    )
