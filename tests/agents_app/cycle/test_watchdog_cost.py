"""What a look of the watchdog costs: what is overdue, however many cycles run and are well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest
from django.contrib.auth.models import User
from django.db import connection

from agents_app.cycle import watchdog
from agents_app.models import Cycle
from executions_app import clock
from scheduler_app import outlook
from tests.scale.plans import Plan, watched

pytestmark = pytest.mark.django_db

RUNNING: Final = 10_000
MOST_ROWS: Final = 200  # that one statement may read of its tables

EXECUTIONS: Final = """
INSERT INTO task_executions (id, owner_id, snapshot, parameters, status, priority, queue, trigger,
    outcome, attempt, max_attempts, lease_token, lease_expires_at, lease_extensions, worker_id,
    publish_count, slice_size, travels_alone, progress, result_truncated, held_by, correlation_id,
    started_at, due_at)
SELECT cadenza_uuid7(), %s, '{"name": "warm", "task_config": {"goal": "warm"}}', '{}', 'running',
    'normal', 'normal', 'time', '', 1, 4, gen_random_uuid(), now() + interval '1 hour', 0, 'w',
    1, 0, false, '{}', false, '', '', now(), now()
FROM generate_series(1, %s)
"""
CYCLES: Final = """
INSERT INTO cycles (id, execution_id, owner_id, token, queue, stage, status, stage_token,
    stage_expires_at, look_at, deadline, wave, waves, strategy, concurrency, analysis, context,
    summary, tier, tier_reason, notes, seen_version, prompt_tokens, completion_tokens, cost_usd,
    timings, redriven)
SELECT cadenza_uuid7(), id, owner_id, lease_token, 'normal', s.stage, 'running',
    CASE s.stage WHEN 'plan' THEN gen_random_uuid() END,
    CASE s.stage WHEN 'plan' THEN now() + interval '20 seconds' END,
    now() + interval '5 seconds', now() + interval '1 hour', 0, 1, '', 5, '{}', '{}',
    '', '', '', '[]', 1, 0, 0, 0, '{}', 0
FROM (SELECT *, (ARRAY['plan', 'execute'])[1 + row_number() OVER () % 2] AS stage
      FROM task_executions) AS s
"""
STEPS: Final = """
INSERT INTO execution_steps (id, execution_id, position, wave, name, config, depends_on,
    is_critical, status, reason, attempt, lease_token, lease_expires_at, worker_id, queued_at,
    started_at)
SELECT cadenza_uuid7(), execution_id, nth, 0, 'warm', '{}', '{}', false, 'running', '', 1,
    gen_random_uuid(), now() + interval '20 seconds', 'w', now(), now()
FROM cycles, generate_series(0, 1) AS nth WHERE stage = 'execute'
"""


@pytest.fixture
def healthy(db: None) -> Iterator[int]:
    """So many cycles that run and are well, half of them in a stage, half with two steps."""
    owner = User.objects.create_user("owner")
    with connection.cursor() as cursor:
        cursor.execute(EXECUTIONS, [owner.pk, RUNNING])
        cursor.execute(CYCLES)
        cursor.execute(STEPS)
    watchdog._Seldom.at = float("inf")  # what is looked at seldom is not what is measured
    yield RUNNING
    watchdog._Seldom.at = float("-inf")


def rows_read(plan: Plan) -> int:
    """The rows that a statement took from its tables and indexes, with those it did not want."""
    return sum(
        int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in plan.nodes
        if "Scan" in node["Node Type"] and "Relation Name" in node
    )


def test_while_all_are_well_a_look_reads_next_to_nothing(healthy: int) -> None:
    with watched() as seen:
        assert watchdog.look() == 0
        outlook.chores(unsent_after_seconds=5)

    dear = [str(one) for one in seen.plans if rows_read(one) > MOST_ROWS]
    assert Cycle.objects.count() == healthy
    assert not dear, "\n".join(dear)


def test_what_is_overdue_costs_by_how_much_it_is(healthy: int) -> None:
    at = clock.now() - timedelta(hours=1)
    late = list(Cycle.objects.filter(stage="execute").values_list("id", flat=True)[:5])
    Cycle.objects.filter(id__in=late).update(look_at=at, updated_at=at)

    with watched() as seen:
        watchdog.look()

    dear = [str(one) for one in seen.plans if rows_read(one) > MOST_ROWS]
    assert Cycle.objects.filter(look_at__lt=clock.now()).count() == 0
    assert not dear, "\n".join(dear)
    assert healthy == Cycle.objects.count()
