"""The ids of executions: UUIDv7 of the instant they are given, all different, in ranges of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import RFC_4122

from executions_app import ids

NOW = datetime(2026, 11, 30, 23, 59, 59, 999_000, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def test_a_stream_gives_fresh_ids_of_its_instant() -> None:
    made = list(islice(ids.stream(NOW), 3 * ids.AT_ONCE))

    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}
    assert all(ids.floor(NOW) <= one < ids.floor(NOW + MILLISECOND) for one in made)
    assert len({one.int & ids.LOW_62 for one in made}) == len(made)


def test_a_single_id_lies_in_the_same_range() -> None:
    assert ids.floor(NOW) <= ids.new(NOW) < ids.floor(NOW + MILLISECOND)


def test_an_id_tells_its_instant_to_the_millisecond() -> None:
    assert ids.instant(ids.new(NOW + MILLISECOND / 2)) == NOW
