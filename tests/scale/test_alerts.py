"""What the rules of alerts look at costs the same after months as on the first day."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from errors_app.alerting import kinds, watch
from errors_app.models import AlertKind, AlertRule
from executions_app import clock
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app.models import Schedule
from tests.scale.plans import watched

PAGES = 20_000  # some thousand rows of a backlog, scattered over the newest month
PAGES_WITH_LITTLE_TO_SEE = 1_000
SAMPLED = 10_000

pytestmark = pytest.mark.usefixtures("large")


def rule(kind: AlertKind) -> AlertRule:
    owner = User.objects.order_by("id")[0].pk if kind in kinds.NEED_A_SCOPE else None
    tight = {"finish_by_ms": 1000} if kind is AlertKind.FINISH_BY else {}
    told = {"p95_factor": 2} if kind is AlertKind.STALLED_EXECUTION else tight
    return AlertRule(name="one", kind=kind.value, owner_id=owner, parameters=told)


@pytest.mark.parametrize("kind", [one for one in AlertKind if one is not AlertKind.NO_SPACE])
def test_a_look_reads_what_matters_along_an_index(kind: AlertKind) -> None:
    with watched() as seen:
        watch.look_by(rule(kind))

    seen.must_cost_little(pages=PAGES, sorted_rows=SAMPLED)


@pytest.mark.parametrize("kind", [one for one in AlertKind if one is not AlertKind.NO_SPACE])
def test_a_look_that_asks_about_much_that_fires_reads_along_an_index(kind: AlertKind) -> None:
    schedules = Schedule.objects.order_by("id").values_list("id", flat=True)[:100]

    with watched() as seen:
        watch.look_by(rule(kind), firing=[str(one) for one in schedules])

    seen.must_cost_little(pages=PAGES, sorted_rows=SAMPLED)


def test_a_failure_rate_where_many_fail_reads_the_newest_of_each() -> None:
    """As many as fail in a bad minute, of as many schedules."""
    now = clock.now()
    newest = Execution.objects.filter(status=ExecutionStatus.COMPLETED).order_by("-id")
    chosen = list(newest.values_list("id", flat=True)[:2000])
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE task_executions SET status = 'failed', completed_at = %s WHERE id = ANY(%s)",
            [now - timedelta(minutes=1), chosen],
        )

    one = AlertRule(name="one", kind="failure_rate", parameters={"min_runs": 1})
    with watched() as seen:
        found = watch.look_by(one)

    assert found
    seen.must_cost_little(pages=PAGES, sorted_rows=SAMPLED)


@pytest.mark.parametrize("kind", [AlertKind.MISSED, AlertKind.BREAKER_OPEN, AlertKind.PROCESS_GONE])
def test_where_nothing_is_wrong_a_look_is_next_to_nothing(kind: AlertKind) -> None:
    with watched() as seen:
        watch.look_by(rule(kind))

    seen.must_cost_little(pages=PAGES_WITH_LITTLE_TO_SEE)
