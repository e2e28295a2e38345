"""The pages on why, looking ahead and making up say what is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from django.contrib.auth.models import User

from executions_app import clock, ids, partitions
from scheduler_app.foresight import lint, simulate, why_refused, why_words
from scheduler_app.models import BusinessCalendar, FireRecord, Schedule
from scheduler_app.policies import FireReason
from tests.terminal import run

MakeSchedule = Callable[..., Schedule]
GUIDE: Final = Path(__file__).resolve().parents[2] / "docs" / "user_guide"
APP: Final = Path(__file__).resolve().parents[2] / "scheduler_app"
BLOCK: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
HOLIDAY: Final = datetime(2026, 11, 19, 9, tzinfo=UTC)
EXACT: Final = ("schedule why", "backfill")


def examples(page: str) -> Iterator[tuple[str, list[str]]]:
    for block in BLOCK.findall((GUIDE / page).read_text()):
        for one in block.split("$ manage.py ")[1:]:
            command, *shown = one.strip().splitlines()
            yield command, shown


EXAMPLES: Final = [*examples("why.md"), *examples("planning.md")]


def words_of(page: str) -> dict[str, str]:
    """The first column of its tables, with the second."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", (GUIDE / page).read_text(), re.MULTILINE)
    return {word: meaning for word, meaning in rows if meaning != "it means"}


@pytest.fixture
def report(make_schedule: MakeSchedule, owner: User) -> Schedule:
    """The schedule of the examples: each day at nine, but for one holiday."""
    User.objects.create_superuser("root")
    schedule = make_schedule(
        "nightly report", schedule_type="cron", schedule_config={"cron": "0 9 * * *"}
    )
    calendar = BusinessCalendar.objects.create(
        id=ids.new(clock.now()),
        owner=owner,
        name="bank",
        weekend=[],
        holidays=[{"date": "2026-11-19", "name": "Founders' Day"}],
    )
    Schedule.objects.filter(id=schedule.id).update(
        calendar=calendar, created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    partitions.ensure(partitions.FIRE_RECORDS, [HOLIDAY], now=clock.now())
    FireRecord.objects.create(
        id=ids.new(HOLIDAY),
        schedule_id=schedule.id,
        nominal_at=HOLIDAY,
        reason=FireReason.SKIPPED_CALENDAR,
        created_at=HOLIDAY,
    )
    return schedule


def test_the_pages_have_examples() -> None:
    assert len(EXAMPLES) >= 7


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_an_example_comes_out_as_shown(command: str, shown: list[str]) -> None:
    ended = run(*shlex.split(command))

    lines = [line.rstrip() for line in ended.stdout.splitlines()]
    assert ended.exit_code == 0, ended.stderr
    if command.startswith(EXACT):
        assert lines == shown
    else:  # what is to come depends on the day; its shape does not
        first_words = {line.split()[0] for line in lines if line}
        named = {line.split()[0] for line in shown if not line.startswith("20")}
        assert named <= first_words


def test_the_tables_name_every_word_there_is() -> None:
    source = (APP / "foresight" / "why_unrecorded.py").read_text()
    absent = {why_refused.NOT_STARTED, *re.findall(r'Absence\(\w+, "(\w+)"', source)}

    assert set(words_of("why.md")) == {one.value for one in FireReason} | absent
    assert words_of("planning.md") == lint.CODES


def test_what_is_assumed_is_written_down() -> None:
    page = (GUIDE / "planning.md").read_text()

    assert all(f"- {one}\n" in page for one in simulate.ASSUMED)
    assert set(why_words.SENTENCES) == set(FireReason)
