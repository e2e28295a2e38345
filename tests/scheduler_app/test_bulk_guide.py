"""The pages on bulk operations and dead letters say what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest
from django.contrib.auth.models import User

from errors_app.models import DeadLetter
from scheduler_app.bulk import advance, choosing
from scheduler_app.models_bulk import BulkVerb
from tests.scheduler_app.ruins import given_up
from tests.terminal import run

GUIDE: Final = Path(__file__).resolve().parents[2] / "docs" / "user_guide"
BLOCK: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+Z( \(.*?\))?")
SPACES: Final = re.compile(r" {2,}")


def same(text: str) -> list[str]:
    """The lines without what every run has of its own: ids, instants, and widths that follow."""
    named = INSTANT.sub("<instant>", ID.sub("<id>", text))
    return [SPACES.sub("  ", line).rstrip() for line in named.strip().splitlines()]


@pytest.fixture
def letter(owner: User) -> DeadLetter:
    """The dead letter of the examples."""
    User.objects.create_superuser("root")
    (made,) = given_up(owner, error_class="timeout", message="no answer")
    made.payload["snapshot"]["name"] = "nightly report"
    made.save(update_fields=["payload"])
    return made


@pytest.mark.parametrize("page", ["bulk.md", "dead_letters.md"])
def test_the_examples_come_out_as_shown(letter: DeadLetter, page: str) -> None:
    (block,) = BLOCK.findall((GUIDE / page).read_text())
    examples = block.split("$ manage.py ")[1:]
    assert len(examples) >= 3

    for example in examples:
        command, shown = example.split("\n", 1)
        ended = run(*shlex.split(ID.sub(str(letter.id), command)))

        assert ended.exit_code == 0, ended.stderr
        assert same(ended.stdout) == same(shown)


def test_the_table_of_verbs_is_that_of_the_code() -> None:
    page = (GUIDE / "bulk.md").read_text()

    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", page, re.MULTILINE)

    lists = {verb: kind.list.name.replace("_", " ") for verb, kind in choosing.KINDS.items()}
    assert {BulkVerb(verb): name for verb, name in rows} == lists


def test_the_numbers_are_those_of_the_code() -> None:
    page = (GUIDE / "bulk.md").read_text()

    assert f"{advance.PAGE} rows at a time, or {advance.SCHEDULES} schedules" in page
    assert f"the first {advance.MOST_REFUSALS} stand in `refusals`" in page
    assert f"counted up to {choosing.COUNTED_UP_TO:,}" in page
