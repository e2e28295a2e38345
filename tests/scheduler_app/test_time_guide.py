"""The examples of the user guide are true."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from scheduler_app import next_run
from scheduler_app.windows import parse_window
from tests.scheduler_app import oracle

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "user_guide" / "time.md"
ROW = re.compile(r"^\| `(.+?)` \| (\S+/\S+) \| (\S+Z) \| (.+) \|$", re.MULTILINE)
EXAMPLES = ROW.findall(GUIDE.read_text())
OPENING = re.compile(r"^\| `(\S+)` \| ([a-z ]+) \| (\S+) \| (\S+Z) \| (\S+Z) \|$", re.MULTILINE)
OPENINGS = OPENING.findall(GUIDE.read_text())


def test_the_guide_has_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(("rule", "zone", "after", "written"), EXAMPLES)
def test_an_example_of_the_guide_fires_as_written(
    rule: str, zone: str, after: str, written: str
) -> None:
    begin = datetime.fromisoformat(after)
    expected = [datetime.fromisoformat(one) for one in written.split(", ")]

    parsed = next_run.parse_rule("cron", {"cron": rule}, anchor_at=None)
    fires = next_run.fires(parsed, next_run.zone(zone), after=begin)
    by_the_oracle = oracle.fires(rule, zone, begin, expected[-1])

    assert list(islice(fires, len(expected))) == expected
    assert [one for one in by_the_oracle if one > begin] == expected


def test_the_guide_has_openings() -> None:
    assert len(OPENINGS) >= 6


@pytest.mark.parametrize(("hours", "weekdays", "zone", "start", "written"), OPENINGS)
def test_a_window_of_the_guide_opens_as_written(
    hours: str, weekdays: str, zone: str, start: str, written: str
) -> None:
    words = {"hours": [hours], "weekdays": weekdays.split()}
    window = parse_window(words, zone=next_run.zone(zone))

    assert window is not None
    assert window.next_open(datetime.fromisoformat(start)) == datetime.fromisoformat(written)
