"""Several dispatchers, many keys and very many held executions: limits hold, rounds stay small."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from executions_app import clock, ids, lifecycle
from executions_app.models import Execution
from scheduler_app import holds
from scheduler_app.limiting import limits_in_force
from scheduler_app.models import Limit

DISPATCHERS = 3
AT_ONCE = 5
WORK = 60
TENANTS = 40
BATCH = 1_000


@pytest.fixture(autouse=True)
def limits_are_read_again() -> Iterator[None]:
    limits_in_force.forget()
    holds.served.served_at.clear()
    yield
    limits_in_force.forget()


def make(owner: User, number: int, *, limit_key: str = "", held_by: str = "") -> None:
    """Many due executions in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO task_executions (
                id, owner_id, snapshot, trigger, parameters, due_at, status, outcome, priority,
                queue, attempt, max_attempts, lease_extensions, worker_id, publish_count,
                slice_size, travels_alone, progress, result_truncated, held_by, limit_key,
                correlation_id)
            SELECT cadenza_uuid7(), %s, '{"name": "a job", "task_type": "noop"}', 'manual', '{}',
                now(), 'pending', '', 'normal', 'normal', 0, 1, 0, '', 0, 0, false, '{}', false,
                %s, %s, ''
            FROM generate_series(1, %s)
            """,
            [owner.pk, held_by, limit_key, number],
        )


def limit(key: str, **values: int) -> None:
    Limit.objects.create(id=ids.new(clock.now()), key=key, **values)
    limits_in_force.forget()


def active() -> int:
    return Execution.objects.filter(status__in=["queued", "running"]).count()


def dispatch(held: holds.Held, *, batch: int) -> int:
    """One round of a dispatcher."""
    with transaction.atomic():
        released = held.release(limit=batch)
    with transaction.atomic():
        entered = holds.release(limit=batch)
    return len(released.queued) + len(entered.queued)


def together(*tasks: Callable[[], object]) -> None:
    def alone(task: Callable[[], object]) -> None:
        try:
            task()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(tasks)) as pool:
        for one in [pool.submit(alone, task) for task in tasks]:
            one.result(timeout=60)


@pytest.mark.django_db(transaction=True)
def test_three_dispatchers_together_never_exceed_a_limit(owner: User) -> None:
    limit("key:tenant:*", max_concurrent=AT_ONCE)
    limit("task:noop", max_concurrent=AT_ONCE + 2)
    for tenant in ("a", "b"):
        make(owner, WORK // 2, limit_key=f"tenant:{tenant}")
    seen: list[Counter[str]] = []
    is_done = threading.Event()

    def dispatcher() -> None:
        held = holds.Held()
        while not is_done.is_set():
            dispatch(held, batch=10)
            rows = Execution.objects.filter(status__in=["queued", "running"])
            seen.append(Counter(rows.values_list("limit_key", flat=True)))

    def worker() -> None:
        try:
            while Execution.objects.exclude(status="completed").exists():
                queued = Execution.objects.filter(status="queued").values_list("id", flat=True)
                claimed = lifecycle.claim(list(queued[:3]), worker_id="w:1:x")
                lifecycle.leave_all([lifecycle.completion(one, output=None) for one in claimed])
        finally:
            is_done.set()

    together(worker, *[dispatcher] * DISPATCHERS)

    assert max(max(one.values(), default=0) for one in seen) <= AT_ONCE
    assert max(one.total() for one in seen) <= AT_ONCE + 2
    assert Execution.objects.filter(status="completed").count() == WORK


@pytest.mark.django_db(transaction=True)
def test_three_dispatchers_together_start_no_more_than_the_rate(owner: User) -> None:
    limit("task:noop", rate_count=AT_ONCE, rate_period_ms=24 * 3_600_000)
    make(owner, WORK)

    def dispatcher() -> None:
        held = holds.Held()
        while Execution.objects.filter(status="pending", held_by="").exists():
            dispatch(held, batch=7)

    together(*[dispatcher] * DISPATCHERS)

    assert active() == AT_ONCE
    assert Execution.objects.filter(held_by="rate:task:noop").count() == WORK - AT_ONCE


def rows_read() -> int:
    """Rows of executions that this transaction has read so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint"
            " FROM pg_stat_xact_user_tables WHERE relname LIKE 'task_executions%'"
        )
        number: int = cursor.fetchone()[0]
    return number


@pytest.fixture(params=["nothing", "what waited and is gone", "what has ended"])
def known_to_the_planner(request: pytest.FixtureRequest, owner: User) -> None:
    """The statistics as they stand in a new database, or in one that has just grown."""
    if request.param != "nothing":
        make(owner, 2_000, held_by="limit:system")
    if request.param == "what has ended":
        now = clock.now()
        Execution.objects.update(
            status="completed", held_by="", outcome="ok", started_at=now, completed_at=now
        )
    with connection.cursor() as cursor:
        if request.param != "what waited and is gone":
            cursor.execute("ANALYZE task_executions")
        Execution.objects.all().delete()
        if request.param == "what waited and is gone":
            cursor.execute("ANALYZE task_executions")


@pytest.mark.django_db
@pytest.mark.usefixtures("known_to_the_planner")
@pytest.mark.parametrize("shared", [False, True], ids=["of their own", "shared"])
def test_the_cost_of_a_round_does_not_grow_with_what_is_held(owner: User, *, shared: bool) -> None:
    limit("task:noop" if shared else "key:tenant:*", max_concurrent=2)
    places = ["limit:task:noop" if shared else f"limit:key:tenant:{n}" for n in range(TENANTS)]
    for number, place in enumerate(places):
        make(owner, 3, limit_key=f"tenant:{number}", held_by=place)
    before = rows_read()
    dispatch(holds.Held(), batch=BATCH)
    few = rows_read() - before
    make(owner, 10_000, limit_key="tenant:0", held_by=places[0])
    Execution.objects.filter(status="queued").update(status="pending", held_by="away")

    before = rows_read()
    queued = dispatch(holds.Held(), batch=BATCH)
    many = rows_read() - before

    assert queued > 0
    assert many <= few + 50


@pytest.mark.django_db
def test_the_quiet_are_admitted_in_the_next_round_beside_ten_thousand_of_another(
    owner: User,
) -> None:
    limit("key:tenant:*", max_concurrent=2)
    make(owner, 10_000, limit_key="tenant:0", held_by="limit:key:tenant:0")
    for number in range(1, TENANTS):
        make(owner, 1, limit_key=f"tenant:{number}")

    dispatch(holds.Held(), batch=BATCH)

    rows = Execution.objects.filter(status="queued").values_list("limit_key", flat=True)
    assert Counter(rows) == {"tenant:0": 2} | {f"tenant:{n}": 1 for n in range(1, TENANTS)}


@pytest.mark.django_db
def test_very_many_keys_are_looked_at_in_turn(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "MOST_LINES", 4)
    limit("key:tenant:*", max_concurrent=1)
    for number in range(10):
        make(owner, 1, limit_key=f"tenant:{number}", held_by=f"limit:key:tenant:{number}")
    held = holds.Held()

    rounds = [dispatch(held, batch=BATCH) for _ in range(3)]

    assert rounds == [4, 4, 2]
