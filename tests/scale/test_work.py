"""The hot path among a million schedules and executions: its cost follows from what there is to do.

Nothing here reads a table whole, and no sort takes more rows than a batch holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from config.env import env
from errors_app import recovery, rescuer
from executions_app import clock, events, feed, ids, lifecycle, outbox, partitions
from executions_app.events import Cursor
from executions_app.models import Execution, OutcomeInbox
from executions_app.states import ExecutionStatus
from scheduler_app import consequences, dispatcher, outlook, queues, sending
from scheduler_app.beat import Metronome
from scheduler_app.models import EventCursor, EventListener, Schedule
from scheduler_app.sources import hearing, internal
from tests import verbs
from tests.patience import forgive_redis
from tests.scale.plans import watched

# A row that is dispatched takes most, 69: its schedule 32 (found twice, written anew in five
# indexes), its execution 15 (six), its fire 11 (two), its event 9 (three). One that is claimed
# takes up to 61, since it is looked for in every month, twice: six more for each that has rows.
PAGES_PER_ROW = 80
PAGES_OF_A_LOOK = 300
# Index entries of what the test itself has moved on, which stay until its transaction ends.
PAGES_LEFT_BEHIND = 5_000
SLICE = 50

pytestmark = pytest.mark.usefixtures("large")


@pytest.fixture(autouse=True)
def broker() -> Iterator[None]:
    queues.broker.cache_clear()
    forgive_redis()
    yield
    queues.broker().flushdb()


def some(status: ExecutionStatus, *, number: int = SLICE) -> list[UUID]:
    chosen = Execution.objects.filter(status=status, cancel_requested_at=None).order_by("-id")
    return list(chosen.values_list("id", flat=True)[:number])


class Alone(Metronome):
    """A metronome that always keeps house, and in a test's one transaction ends its own."""

    def beat(self) -> float:
        self._kept_house_at = float("-inf")
        return super().beat()

    @staticmethod
    def _try(duty: Callable[[], object]) -> bool:
        is_done = Metronome._try(duty)
        with connection.cursor() as cursor:  # what a duty has set ends with its transaction
            for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
                cursor.execute(f"SET LOCAL {setting} TO DEFAULT")
        return is_done


def test_a_beat_costs_by_what_is_due_and_one_without_work_next_to_nothing() -> None:
    metronome = Alone()
    with watched() as busy:
        metronome.beat()
    for _ in range(20):
        metronome.beat()
    with watched() as idle:
        metronome.beat()

    busy.must_cost_little(pages=env.scheduler_batch_size * PAGES_PER_ROW)
    idle.must_cost_little(pages=PAGES_OF_A_LOOK + PAGES_LEFT_BEHIND)
    assert Execution.objects.filter(status="queued", trigger="time").exists()
    assert busy.of("INSERT INTO task_executions")
    assert busy.of("INSERT INTO incidents")
    assert idle.of("FROM error_records")
    assert not idle.of("INSERT INTO (task_executions|incidents)")


def test_a_beat_asks_for_its_chores_at_next_to_no_cost() -> None:
    with watched() as seen:
        found = outlook.chores(unsent_after_seconds=sending.lost_after_seconds())

    assert found.has_unsent
    seen.must_cost_little(pages=PAGES_OF_A_LOOK)


def test_due_schedules_are_taken_without_sorting_those_that_are_due(filled: int) -> None:
    with watched() as seen:
        done = dispatcher.dispatch_due()

    assert done.fired >= filled / 1000
    seen.must_cost_little(
        pages=env.scheduler_batch_size * PAGES_PER_ROW, sorted_rows=env.scheduler_batch_size
    )


def test_a_slice_is_claimed_renewed_and_ended_by_its_ids() -> None:
    chosen = some(ExecutionStatus.QUEUED)
    with watched() as seen:
        held = lifecycle.claim(chosen, worker_id="worker-1")
        lifecycle.renew({one.id: one.lease_token for one in held})
        lifecycle.cancel_requests(chosen)
        verbs.complete(held[0], output=1)
        verbs.hand_back(held[1])
        lifecycle.report_progress(held[2], {"done": 1})
        recovery.recover(held[3], OSError("nobody answered"), rng=random.Random(1))

    assert len(held) == SLICE
    seen.must_cost_little(pages=SLICE * PAGES_PER_ROW, sorted_rows=SLICE)


def test_a_plan_made_while_a_month_was_empty_serves_it_when_it_is_full() -> None:
    """Statements stay prepared for weeks; the next month fills before its statistics follow."""
    for _ in range(2):
        for one in lifecycle.claim(some(ExecutionStatus.QUEUED, number=3), worker_id="worker-1"):
            lifecycle.renew({one.id: one.lease_token})
            verbs.complete(one, output=1)
    month = partitions.next_month(partitions.month_of(clock.now()))
    fill_with_queued(partitions.Partition(partitions.EXECUTIONS, month), rows=30_000)
    chosen = some(ExecutionStatus.QUEUED)

    with watched() as seen:
        held = lifecycle.claim(chosen, worker_id="worker-1")
        lifecycle.renew({one.id: one.lease_token for one in held})
        verbs.complete(held[0], output=1)

    assert len(held) == SLICE
    assert min(chosen) >= ids.floor(month)
    seen.must_cost_little(pages=SLICE * PAGES_PER_ROW, sorted_rows=SLICE)


def test_lost_executions_are_found_among_those_that_run() -> None:
    with watched() as seen:
        found = rescuer.rescue_lost(rng=random.Random(1), most=3)

    assert found > 0
    seen.must_cost_little(pages=PAGES_OF_A_LOOK)


def test_what_has_to_be_published_again_is_found_among_what_is_queued() -> None:
    with watched() as seen:
        sending.republish_overdue()
        outbox.unpublish(some(ExecutionStatus.QUEUED))
        outbox.unpublish_before(clock.now() + timedelta(hours=2), limit=100)

    seen.must_cost_little(pages=env.scheduler_batch_size * PAGES_PER_ROW)


def test_consequences_are_drawn_by_the_batch() -> None:
    with watched() as seen:
        assert consequences.draw(limit=200) == 200

    seen.must_cost_little(pages=200 * PAGES_PER_ROW)


def test_dependents_are_found_by_the_upstreams_that_ended() -> None:
    inbox = OutcomeInbox.objects.order_by("id").values_list("schedule_id", flat=True)
    upstreams = [one for one in inbox[:50] if one is not None]
    others = Schedule.objects.exclude(id__in=upstreams).order_by("id")
    waiting = list(others.values_list("id", flat=True)[:50])
    of_old = {"created_at": clock.now() - timedelta(days=365), "overlap_policy": "allow"}
    for one, upstream in zip(waiting, upstreams, strict=True):
        config = {"upstreams": [str(upstream)], "on": "end", "mode": "any"}
        Schedule.objects.filter(id=one).update(
            trigger_type="dependent", trigger_config=config, enabled=True, **of_old
        )

    with watched() as seen:
        consequences.draw(limit=200)

    assert Execution.objects.filter(trigger="dependency").exists()
    seen.must_cost_little(pages=200 * PAGES_PER_ROW)


def test_events_are_heard_by_the_page_wherever_the_last_hearing_ended(filled: int) -> None:
    hearer = Schedule.objects.order_by("id")[0]
    config = {"source": "internal", "event": "execution:queued", "filter": {}}
    Schedule.objects.filter(id=hearer.id).update(
        trigger_type="event_driven", trigger_config=config, overlap_policy="allow", enabled=True
    )
    EventListener.objects.create(schedule_id=hearer.id, since_xid=0)
    internal.hear()

    for share in (0.0, 0.5, 0.99):
        place = Cursor(int(events.end().xid * share), UUID(int=0))
        EventCursor.objects.update(xid=place.xid, event_id=place.id)
        with watched() as seen:
            internal._hear_page()
        seen.must_cost_little(pages=hearing.AT_ONCE * PAGES_PER_ROW)


def test_people_and_their_acts_touch_single_rows() -> None:
    waiting, failed = some(ExecutionStatus.QUEUED), some(ExecutionStatus.FAILED, number=5)
    with watched() as seen:
        lifecycle.cancel(Execution.objects.get(id=waiting[0]))
        lifecycle.due_now(some(ExecutionStatus.PENDING, number=5))
        assert lifecycle.requeue(failed, budget=2) == set(failed)
        verbs.queue_due(limit=10, ids=failed)

    seen.must_cost_little(pages=SLICE * PAGES_PER_ROW)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
def test_replay_reads_a_page_wherever_it_begins(share: float) -> None:
    last = events.end()
    begin = Cursor(int(last.xid * share), UUID(int=0))

    with watched() as seen:
        events.after(begin, limit=feed.PAGE)
        feed._is_replayable(begin)

    seen.must_cost_little(pages=feed.MOST_REPLAYED)


def fill_with_queued(partition: partitions.Partition, *, rows: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {partition.name} (id, snapshot, owner_id, trigger, parameters, due_at,
                status, outcome, priority, queue, attempt, max_attempts, lease_extensions,
                worker_id, publish_count, slice_size, travels_alone, progress, result_truncated,
                held_by, correlation_id)
            SELECT cadenza_uuid7(%s + interval '1 ms' * n), '{{"timeout_ms": 1000}}', 1, 'time',
                '{{}}', now(), 'queued', '', 'normal', 'normal', 0, 4, 0, '', 0, 0, false, '{{}}',
                false, '', ''
            FROM generate_series(1, %s) AS n
            """,
            [partition.month, rows],
        )
