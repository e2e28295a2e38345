"""The three questions about health, asked by whoever comes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from executions_app import clock
from scheduler_app import queues, system


@pytest.fixture
def ticking(db: None) -> None:
    """A beat looked at the clock just now, and Redis is asked afresh."""
    queues.broker.cache_clear()
    queues.forgive()
    system.note_tick(problem="", now=clock.now())


@pytest.fixture
def without_redis(ticking: None, settings: Settings) -> Iterator[None]:
    settings.REDIS_BROKER_URL = "redis://127.0.0.1:1/0"
    queues.broker.cache_clear()
    yield
    queues.broker.cache_clear()
    queues.forgive()


@pytest.mark.usefixtures("ticking")
def test_all_parts_are_well(client: Client) -> None:
    answer = client.get("/api/health")

    health = answer.json()
    assert (answer.status_code, health["status"]) == (200, "ok")
    assert {name: part["status"] for name, part in health["parts"].items()} == {
        "database": "ok",
        "redis": "ok",
        "beat": "ok",
    }
    assert health["parts"]["beat"]["age_ms"] >= 0
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.usefixtures("ticking")
def test_a_beat_that_stopped_makes_the_whole_fail_but_not_this_process(client: Client) -> None:
    system.note_tick(problem="", now=clock.now() - timedelta(seconds=20))

    whole, ready = client.get("/api/health"), client.get("/api/health/ready")

    assert (whole.status_code, whole["Retry-After"]) == (503, "5")
    assert whole.json()["parts"]["beat"]["status"] == "failing"
    assert whole.json()["parts"]["beat"]["age_ms"] >= 20_000
    assert ready.status_code == 200


@pytest.mark.usefixtures("without_redis")
def test_without_redis_it_is_not_well_but_takes_requests_and_says_no_address(
    client: Client,
) -> None:
    whole, ready = client.get("/api/health"), client.get("/api/health/ready")

    assert (whole.status_code, ready.status_code) == (503, 200)
    assert whole.json()["parts"]["redis"]["status"] == "failing"
    assert whole.json()["parts"]["database"]["status"] == "ok"
    assert b"127.0.0.1" not in whole.content


@pytest.mark.usefixtures("without_redis")
def test_to_be_alive_nothing_else_is_needed(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/api/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "parts": {}})
