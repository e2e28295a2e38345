"""The demo's schedules come into the running system once, and a person's changes stay."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model

from agents_app.models import Endpoint
from agents_app.objects import endpoints
from config.demo import loading
from config.demo.schedules import history_command
from executions_app.audit import SYSTEM
from executions_app.models import Execution, SystemState
from scheduler_app import schedules
from scheduler_app.models import Schedule

URL = "http://127.0.0.1:9000"
NOW = datetime.now(UTC) + timedelta(hours=1)  # ahead of every test that runs before


@pytest.fixture
def administrator(transactional_db: None) -> int:
    SystemState.objects.get_or_create(id=1)  # emptying the tables after a test takes it along
    user = get_user_model().objects.create_superuser(username="ada", password="a-password")
    return int(user.pk)


def stored() -> dict[str, Schedule]:
    return {one.name: one for one in Schedule.objects.all()}


def test_the_first_administrator_owns_them_all(administrator: int) -> None:
    get_user_model().objects.create_superuser(username="bob", password="a-password")

    created = loading.load(url=URL, now=NOW)

    assert set(created) == set(stored())
    assert {one.owner_id for one in stored().values()} == {administrator}
    assert stored()["demo: steady, every second"].next_run_at is not None


def test_without_an_administrator_nothing_is_loaded(transactional_db: None) -> None:
    with pytest.raises(loading.NotReady, match="first_admin"):
        loading.load(url=URL, now=NOW)

    assert stored() == {}


def test_loading_again_changes_nothing(administrator: int) -> None:
    loading.load(url=URL, now=NOW)
    before = stored()

    created = loading.load(url=URL, now=NOW + timedelta(minutes=5))

    assert created == []
    assert {one.version for one in stored().values()} == {1}
    assert {name: one.anchor_at for name, one in stored().items()} == {
        name: one.anchor_at for name, one in before.items()
    }


def test_the_endpoints_of_the_ai_are_registered_once_and_followed(administrator: int) -> None:
    loading.load(url=URL, now=NOW)
    before = {one.name: one for one in Endpoint.objects.filter(owner_id=administrator)}
    endpoints.change(before["demo-note"].id, {"description": "mine"}, actor=SYSTEM)

    loading.load(url="http://127.0.0.1:9001", now=NOW)

    after = {one.name: one for one in Endpoint.objects.filter(owner_id=administrator)}
    of_ai = stored()["demo: an AI plans these calls"].task_config["endpoints"]
    assert set(before) == set(after) == set(of_ai)
    assert after["demo-note"].url == "http://127.0.0.1:9001/steady"
    assert after["demo-note"].description == "mine"
    assert {name: one.id for name, one in after.items()} == {
        name: one.id for name, one in before.items()
    }


def test_the_manual_schedule_is_triggered_once(administrator: int) -> None:
    loading.load(url=URL, now=NOW)
    loading.load(url=URL, now=NOW)

    [execution] = Execution.objects.all()
    assert execution.schedule_id == stored()["demo: by hand"].id
    assert execution.trigger == "manual"


def test_a_schedule_that_a_person_paused_stays_paused(administrator: int) -> None:
    loading.load(url=URL, now=NOW)
    paused = stored()["demo: slow, every 5 seconds"]
    schedules.pause(paused.id, reason="too noisy", until=None, actor=SYSTEM)

    loading.load(url=URL, now=NOW)

    again = stored()["demo: slow, every 5 seconds"]
    assert not again.enabled
    assert again.pause_reason == "too noisy"


def test_an_endpoint_server_that_moved_is_followed_without_a_new_grid(administrator: int) -> None:
    loading.load(url=URL, now=NOW)
    before = stored()["demo: steady, every second"]

    loading.load(url="http://127.0.0.1:9001", now=NOW)

    after = stored()["demo: steady, every second"]
    assert after.task_config["url"] == "http://127.0.0.1:9001/steady"
    assert after.anchor_at == before.anchor_at
    assert before.next_run_at
    assert after.next_run_at
    assert (after.next_run_at - before.next_run_at) % timedelta(seconds=1) == timedelta()


def test_the_history_of_a_checkout_is_shown_by_git(tmp_path: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    commit = ["git", "-C", str(tmp_path), *identity, "commit", "-q", "--allow-empty", "-m", "one"]
    subprocess.run(commit, check=True)

    command = history_command(tmp_path)

    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("one")


def test_without_a_history_the_files_are_shown(tmp_path: Path) -> None:
    assert history_command(tmp_path) == ["ls", "-l", str(tmp_path)]
