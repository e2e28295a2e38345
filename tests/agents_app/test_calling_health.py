from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app import calling, calling_address, calling_health
from agents_app.models import Endpoint
from errors_app.models import Breaker
from executions_app import clock, ids
from executions_app.models import Step
from executions_app.states import BreakerStatus, StepStatus
from tests.agents_app.endpoints import registered
from tests.factories import ExecutionFactory, UserFactory
from tests.rest import signed_in
from tests.scale import plans

pytestmark = pytest.mark.django_db


def _step(endpoint: Endpoint, *, ms: int, **words: Any) -> None:
    now = clock.now()
    Step.objects.create(
        id=ids.new(now),
        execution_id=ExecutionFactory.create().id,
        position=0,
        name=endpoint.name,
        config={"target": "endpoint", "endpoint": calling.snapshot_of(endpoint)},
        started_at=now - timedelta(milliseconds=ms),
        completed_at=now,
        **{"status": StepStatus.COMPLETED, **words},
    )


def _of(*endpoints: Endpoint) -> dict[UUID, calling_health.EndpointHealth]:
    found = calling_health.of(endpoints, now=clock.now())
    assert [one.id for one in found] == [one.id for one in endpoints]
    return {one.id: one for one in found}


def test_an_endpoint_shows_rate_latency_and_its_last_failure() -> None:
    endpoint = registered("https://example.com/warm/{region}")
    for ms in (100, 200, 300):
        _step(endpoint, ms=ms)
    _step(endpoint, ms=9_000, status=StepStatus.FAILED, reason="answered 502")
    _step(endpoint, ms=9_000, status=StepStatus.RUNNING)
    _step(endpoint, ms=9_000, status=StepStatus.SKIPPED)

    health = _of(endpoint)[endpoint.id]

    assert (health.steps, health.failed, health.success_rate) == (4, 1, 0.75)
    assert (health.latency_ms, health.p95_ms) == (200, 290)
    assert health.last_failure == "answered 502"
    assert health.last_success_at is not None
    assert health.state == BreakerStatus.CLOSED


def test_one_query_tells_of_many_and_each_by_itself() -> None:
    first = registered("https://example.com/a")
    second = registered("https://example.com/b", name="other")
    _step(first, ms=100)
    Breaker.objects.create(
        id=ids.new(clock.now()),
        key=calling_address.breaker_key(second.url),
        state=BreakerStatus.OPEN,
        reason="5 calls in a row failed",
        seen_at=clock.now(),
    )

    with CaptureQueriesContext(connection) as queries:
        found = calling_health.of([second, first], now=ids.instant(ids.new(first.created_at)))

    assert len(queries) == 1
    assert [(one.steps, one.state) for one in found] == [(0, "open"), (1, "closed")]
    assert (found[0].success_rate, found[0].latency_ms) == (None, None)
    assert found[0].reason == "5 calls in a row failed"


def test_what_is_older_than_a_day_does_not_count() -> None:
    endpoint = registered("https://example.com/a")
    _step(endpoint, ms=100)

    (tomorrow,) = calling_health.of([endpoint], now=clock.now() + timedelta(hours=25))

    assert (_of(endpoint)[endpoint.id].steps, tomorrow.steps) == (1, 0)


def test_its_steps_are_found_along_an_index_of_the_endpoint() -> None:
    mine, other = registered("https://example.com/a"), registered("https://example.com/b")
    for _ in range(3):
        _step(mine, ms=100)
    for _ in range(300):  # of few endpoints every index would do about as well
        other.id = ids.new(clock.now())
        _step(other, ms=100)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE execution_steps")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")

    with plans.watched() as seen:
        assert _of(mine)[mine.id].steps == 3

    (plan,) = seen.of("FROM execution_steps")
    steps = [node for node in plan.nodes if "execution_steps" in node.get("Relation Name", "")]
    read = [node for node in steps if node["Actual Rows"]]  # of the months that have any
    assert [node["Index Name"].endswith("_of_endpoint") for node in read] == [True]
    assert [node["Actual Rows"] * node["Actual Loops"] for node in read] == [3]
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in steps)


def test_its_owner_sees_it_over_http_and_nobody_else() -> None:
    owner = UserFactory.create()
    endpoint = registered("https://example.com/a", owner=owner)
    _step(endpoint, ms=100)
    path = f"/api/agents/endpoints/{endpoint.id}/health"

    answer = signed_in(owner).get(path)

    assert (answer.status_code, answer.json()["success_rate"]) == (200, 1.0)
    assert signed_in(UserFactory.create()).get(path).status_code == 404
    superuser = UserFactory.create(is_superuser=True)
    assert signed_in(superuser).get(path).status_code == 200
