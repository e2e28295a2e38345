"""The three questions about health, asked by whoever comes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from executions_app import clock, migrated
from scheduler_app import queues, system
from tests.patience import forgive_redis


@pytest.fixture
def ticking(db: None) -> None:
    """A beat looked at the clock just now, and Redis is asked afresh."""
    queues.broker.cache_clear()
    forgive_redis()
    system.note_tick(problem="", now=clock.now())


@pytest.fixture
def without_redis(ticking: None, settings: Settings) -> Iterator[None]:
    settings.REDIS_BROKER_URL = "redis://127.0.0.1:1/0"
    queues.broker.cache_clear()
    yield
    queues.broker.cache_clear()
    forgive_redis()


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


@pytest.fixture
def not_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has just started."""
    monkeypatch.setattr(migrated._Known, "is_whole", False)


@pytest.mark.usefixtures("ticking", "not_asked_yet")
def test_a_process_is_ready_when_all_migrations_are_applied_and_does_not_ask_again(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    newest = MigrationRecorder.Migration.objects.filter(app="errors_app").order_by("name").last()
    assert newest is not None
    newest.delete()

    before = client.get("/api/health/ready")
    MigrationRecorder(connection).record_applied("errors_app", newest.name)
    after = client.get("/api/health/ready")

    assert (before.status_code, before["Retry-After"]) == (503, "5")
    assert before.json()["parts"]["database"]["status"] == "ok"
    assert before.json()["parts"]["migrations"]["detail"] == (
        f"1 migration is not applied (errors_app.{newest.name}): run `manage.py migrate`"
    )
    assert after.status_code == 200
    with django_assert_num_queries(1):
        assert client.get("/api/health/ready").status_code == 200


@pytest.mark.usefixtures("without_redis")
def test_to_be_alive_nothing_else_is_needed(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/api/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "parts": {}})
