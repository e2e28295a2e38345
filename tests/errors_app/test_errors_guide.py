"""What the guide says about classes of errors is what recovery does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from errors_app.decision import MOST_LOST
from errors_app.taxonomy import RETRYABLE, SEVERITY, ErrorClass
from tests.terminal import run

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "user_guide" / "errors.md"
CLASS = re.compile(r"^\| `(\w+)` \| [^|]+ \| (\w+) \| (yes|no)", re.MULTILINE)


def test_the_table_of_classes_is_that_of_the_code() -> None:
    listed = {name: (severity, tried) for name, severity, tried in CLASS.findall(text())}

    assert listed == {
        one.value: (SEVERITY[one].value, "yes" if one in RETRYABLE else "no") for one in ErrorClass
    }
    assert (MOST_LOST, "yes; no more after the third lost worker" in text()) == (3, True)


def text() -> str:
    return GUIDE.read_text()


def commands() -> list[list[str]]:
    lines = re.findall(r"^manage\.py (.+)$", text(), re.MULTILINE)
    found = []
    for line in lines:
        command, verbs, *rest = shlex.split(line)
        found += [[command, verb, *rest] for verb in verbs.split("|")]
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_the_guide_is_understood(command: list[str]) -> None:
    ended = run(*command)

    assert ended.exit_code != 2, ended.stderr
