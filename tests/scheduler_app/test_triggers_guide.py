"""The commands of the guide to triggers do what it says, on a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from config.env import env
from executions_app import events, retention, tokens
from executions_app.models import Execution
from scheduler_app.models import Schedule
from scheduler_app.sources import payloads, signatures, starting
from scheduler_app.sources.chains import MOST_EVENTS
from scheduler_app.sources.filters import Condition

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "user_guide" / "triggers.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.+?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def carried_out(owner: User, live_server: LiveServer, tmp_path: Path) -> Path:
    """The folder in which the guide's commands have been run, one after the other."""
    _, token = tokens.create(owner, name="guide", now=timezone.now())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(COMMANDS)],
        cwd=tmp_path,
        env={"URL": live_server.url, "TOKEN": token, "PATH": path},
        check=True,
        timeout=60,
    )
    return tmp_path


def answer(folder: Path, name: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / name).read_text())
    return said


def test_the_commands_of_the_guide_start_what_they_say(carried_out: Path) -> None:
    first, second = answer(carried_out, "first.json"), answer(carried_out, "second.json")

    started = Execution.objects.order_by("number")
    assert [str(one.id) for one in started] == [first["execution_id"], second["execution_id"]]
    assert started[0].parameters["event"]["order"] == {"id": 1042, "status": "paid", "total": 99.5}
    assert set(first) == set(json.loads(re.findall(r'^{"matched".+}$', GUIDE, re.MULTILINE)[0]))
    upstreams = Schedule.objects.filter(name__startswith="import-").order_by("name")
    stored = Schedule.objects.get(name="report").trigger_config["upstreams"]
    assert stored == [str(one.id) for one in upstreams]
    assert Schedule.objects.filter(name="page somebody", trigger_type="event_driven").exists()


def test_the_bounds_of_the_guide_are_those_of_the_code() -> None:
    assert payloads.MOST_BYTES == 256 * 1024
    assert payloads.MOST_DEPTH == 32
    assert signatures.SKEW.total_seconds() == 5 * 60
    assert signatures.LONGEST_VALIDITY.total_seconds() == 24 * 3600
    assert retention.DELIVERIES_KEPT.days == 30
    assert MOST_EVENTS == 5
    assert hasattr(env, "webhook_max_per_minute")


def test_the_guide_names_every_comparison_and_reason() -> None:
    comparisons = {field.alias or name for name, field in Condition.model_fields.items()}
    words = set(re.findall(r"`([a-z_:]+)`", GUIDE))

    assert comparisons <= words
    assert "schedule:start_refused" in events.TYPES.keys() & words
    assert {one.value for one in starting.Closed} == {"disabled", "paused", "not_yet", "over"}
