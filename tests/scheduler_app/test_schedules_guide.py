"""The guide to the fields of a schedule is complete, and its examples work."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from scheduler_app.definition import Definition
from scheduler_app.models import Limit, Schedule
from tests.rest import signed_in
from tests.terminal import run

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "user_guide" / "schedules.md").read_text()
REQUEST = re.compile(r"^```http\nPOST (\S+)\n\n(.+?)\n```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ manage\.py (.+)$", re.MULTILINE)
ROW = re.compile(r"^\| (`.+?) \| ", re.MULTILINE)


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    described = {name for row in ROW.findall(GUIDE) for name in re.findall(r"`(\w+)`", row)}

    assert described == set(Definition.model_fields)


@pytest.mark.django_db
def test_the_defaults_that_the_guide_names_are_those_of_the_code(owner: User) -> None:
    shortest = {"name": "a", "trigger_type": "manual", "task_type": "http_request",
                "task_config": {"url": "https://example.com"}}  # fmt: skip
    row = signed_in(owner).post("/api/scheduler/schedules", shortest, format="json").json()

    named = re.findall(r"^\| `(\w+)` \| `(.+?)` \| ", GUIDE, re.MULTILINE)
    stated = {name: text for name, text in named if not text.isupper() and "_SECONDS" not in text}

    shown = {name: row[name] for name in stated} | {"trigger_type": "time_based"}
    assert len(stated) > 15
    assert {name: json.dumps(one).strip('"') for name, one in shown.items()} == stated


@pytest.mark.django_db
def test_every_request_of_the_guide_is_accepted(owner: User) -> None:
    root = signed_in(User.objects.create_superuser("root"))

    answers = [
        (path, root.post(path, data=body, content_type="application/json"))
        for path, body in REQUEST.findall(GUIDE)
    ]

    assert len(answers) >= 12
    for path, answer in answers:
        is_bulk = path.endswith(("/pause", "/resume"))
        assert answer.status_code == (200 if is_bulk else 201), (path, answer.json())
        assert not is_bulk or (answer.json()["changed"] > 3 and not answer.json()["refused"])
    assert Limit.objects.get().key == "key:tenant:*"
    assert not Schedule.objects.filter(enabled=False).exists()


@pytest.mark.django_db
def test_every_command_of_the_guide_is_carried_out(owner: User) -> None:
    User.objects.create_superuser("root")

    ended = {line: run(*shlex.split(line)) for line in COMMAND.findall(GUIDE)}

    assert len(ended) >= 5
    assert {line: one.stderr for line, one in ended.items() if one.exit_code} == {}
