"""The doctor: what is well is ok, what is not is named with its fix; settings that do not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from config import doctor, fit
from config.doctor import Finding, Level
from config.env import env
from executions_app import clock
from executions_app.models import SystemState
from scheduler_app import queues
from tests.terminal import run

CHECKOUT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "django_env": "production",
    "session_secret": "x" * 32,
    "field_encryption_keys": ["A" * 43 + "="],
}


def findings() -> dict[str, Finding]:
    return {one.name: one for one in doctor.examine()}


@pytest.fixture
def system_state(db: None) -> SystemState:
    return SystemState.objects.get_or_create(id=1)[0]


@pytest.mark.django_db
def test_what_is_well_is_ok(system_state: SystemState) -> None:
    SystemState.objects.update(scheduler_last_tick_at=Now())

    found = findings()

    well = ("python", "settings", "disk", "postgresql", "migrations", "clocks", "partitions",
            "beats", "leases", "waiting", "redis", "eviction", "queues")  # fmt: skip
    assert {name: found[name].level for name in well} == dict.fromkeys(well, Level.OK)


@pytest.mark.django_db
def test_missing_beats_and_workers_fail_with_the_fix(system_state: SystemState) -> None:
    SystemState.objects.update(scheduler_last_tick_at=clock.now() - timedelta(minutes=5))

    found = findings()

    assert found["beats"].level is Level.FAIL
    assert "5 min" in found["beats"].fact
    assert found["workers"].level is Level.FAIL
    assert "make up" in found["workers"].fix


@pytest.mark.django_db
def test_a_stopped_scheduler_is_a_warning(system_state: SystemState) -> None:
    SystemState.objects.update(scheduler_last_tick_at=Now(), scheduler_running=False)

    stopped = findings()["beats"]

    assert stopped.level is Level.WARN
    assert "scheduler start" in stopped.fix


@pytest.mark.django_db
def test_an_evicting_redis_is_a_warning(system_state: SystemState) -> None:
    broker = queues.broker()
    before: dict[str, Any] = broker.config_get("maxmemory-policy")  # type: ignore[assignment]
    broker.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = findings()["eviction"]
    finally:
        broker.config_set("maxmemory-policy", before["maxmemory-policy"])

    assert found.level is Level.WARN
    assert "allkeys-lru" in found.fact


def test_away_services_fail_and_nothing_of_theirs_is_checked() -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "REDIS_URL": "redis://127.0.0.1:1/0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    told = json.loads(ended.stdout)
    levels = {one["name"]: one["level"] for one in told["checks"]}
    assert (ended.returncode, told["status"]) == (1, "fail")
    assert (levels["postgresql"], levels["redis"]) == ("fail", "fail")
    assert not levels.keys() & {"beats", "workers"}
    assert all(one["fix"] for one in told["checks"] if one["level"] == "fail")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"heartbeat_seconds": 20.0, "lease_seconds": 30.0}, "HEARTBEAT_SECONDS"),
        ({"scheduler_backoff_base": 500_000}, "SCHEDULER_BACKOFF_BASE"),
        ({"llm_first_token_seconds": 61.0, "llm_timeout_seconds": 60.0}, "LLM_FIRST_TOKEN_SECONDS"),
        ({"llm_pause_seconds": 601.0}, "LLM_PAUSE_SECONDS"),
        ({"extra_handlers": ["mine"]}, "EXTRA_HANDLERS"),
        ({"extra_tools": ["mine"]}, "EXTRA_TOOLS"),
        ({**PRODUCTION, "session_secret": "short"}, "SESSION_SECRET"),
        ({**PRODUCTION, "field_encryption_keys": []}, "FIELD_ENCRYPTION_KEYS"),
        ({**PRODUCTION, "allowed_hosts": ["*"]}, "ALLOWED_HOSTS"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(change: dict[str, Any], named: str) -> None:
    (problem,) = fit.problems(env.model_copy(update=change))

    assert problem.startswith(f"{named}: ")


def test_settings_are_listed_without_their_secrets() -> None:
    changed = env.model_copy(
        update={
            "session_secret": "do-not-show",
            "openai_api_key": "do-not-show",
            "anthropic_api_key": "do-not-show",
            "database_url": "postgresql://me:do-not-show@db/cadenza",
        }
    )

    listed = {one.name: one.value for one in fit.settings(changed)}

    assert "do-not-show" not in str(listed)
    assert listed["LEASE_SECONDS"] == env.lease_seconds


def test_check_config_says_that_all_is_well() -> None:
    ended = run("check_config", "--json")

    assert ended.exit_code == 0
    assert ended.document["ok"]
