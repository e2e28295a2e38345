"""What is asked about fires, past and to come, among a million schedules: a bounded cost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from executions_app import clock
from executions_app.audit import Actor
from scheduler_app import backfills
from scheduler_app.foresight import lint_rows, recorded, upcoming, why
from scheduler_app.models import FireRecord, Schedule
from tests.rest import signed_in
from tests.scale.plans import watched

FIRES = 50_000
MANY_FIRES = """
INSERT INTO fire_records (
    id, schedule_id, nominal_at, cause, count, reason, lateness_ms, created_at)
SELECT gen_random_uuid(), %s, now() - interval '1 minute' * n - interval '1 microsecond', '', 1,
    CASE WHEN n %% 100 = 0 THEN 'skipped_overlap' ELSE 'dispatched' END, 0,
    now() - interval '1 minute' * n
FROM generate_series(1, %s) AS n
"""

pytestmark = pytest.mark.usefixtures("large")


@pytest.fixture
def busy() -> Schedule:
    """A schedule with a month of fires, one a minute."""
    schedule = Schedule.objects.filter(enabled=True).order_by("id")[0]
    with connection.cursor() as cursor:
        cursor.execute(MANY_FIRES, [schedule.id, FIRES])
        cursor.execute("ANALYZE fire_records")
    return schedule


def test_a_page_of_fires_costs_a_page_wherever_it_lies(busy: Schedule) -> None:
    client = signed_in(User.objects.create_superuser("root"))
    deep = clock.now() - timedelta(minutes=FIRES // 2)
    path = f"/api/scheduler/schedules/{busy.id}/fires"

    with watched() as seen:
        first = client.get(path).json()
        client.get(first["next"])
        client.get(path, {"until": deep.isoformat()})
        client.get(path, {"since": deep.isoformat(), "ordering": "nominal_at"})

    seen.must_cost_little(pages=600)


def test_why_costs_a_few_pages(busy: Schedule) -> None:
    now = clock.now()
    fire = FireRecord.objects.filter(schedule_id=busy.id, reason="skipped_overlap")
    at = fire.order_by("-nominal_at")[300].nominal_at
    Schedule.objects.filter(id=busy.id).update(created_at=now - timedelta(days=90))
    busy.refresh_from_db()

    with watched() as seen:
        why.explain(busy, at=at, now=now)
        why.explain(busy, at=at + timedelta(seconds=31, microseconds=7), now=now)
        why.explain(busy, at=None, now=now)

    seen.must_cost_little(pages=2_000)


@pytest.mark.parametrize("whose", ["an owner's", "everybody's"])
def test_looking_ahead_reads_no_more_than_it_may(whose: str) -> None:
    now = clock.now()
    user = User.objects.get(username="owner-3") if whose == "an owner's" else None

    with watched() as seen:
        look = upcoming.read(user, now=now, until=now + timedelta(hours=24))

    assert len(look.fires) == upcoming.USUAL_LIMIT
    seen.must_cost_little(pages=20_000, sorted_rows=upcoming.MOST_SCHEDULES + 1)


def test_recorded_durations_and_lint_cost_what_is_looked_at() -> None:
    now = clock.now()
    rows = list(Schedule.objects.order_by("-id")[:50])

    with watched() as seen:
        recorded.durations([one.id for one in rows])
        lint_rows.collisions([now + timedelta(hours=2)])

    seen.must_cost_little(pages=20_000)


def test_a_look_for_backfills_costs_nothing_where_none_runs() -> None:
    with watched() as seen:
        assert backfills.advance() == 0

    seen.must_cost_little(pages=20)


def test_a_backfill_counts_its_own_from_an_index(busy: Schedule) -> None:
    now = clock.now()
    Schedule.objects.filter(id=busy.id).update(anchor_at=now)
    busy.refresh_from_db()
    backfills.create(
        busy, first=now - timedelta(days=1), until=now, max_concurrent=5, actor=Actor("ada")
    )

    with watched() as seen:
        assert backfills.advance() == 5

    seen.must_cost_little(pages=2_000)
