"""The judgement of the benchmark; the system it measures is the subject of the other journeys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks import due
from config.demo.ledger import Call

DUE_AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def arrivals(seconds: Sequence[float]) -> list[Call]:
    return [
        Call(f"call {n}", "/steady", "POST", f"key {n}", 1, DUE_AT.timestamp() + after, 200)
        for n, after in enumerate(seconds)
    ]


def judged(calls: Sequence[Call], *, count: int) -> due.Measurement:
    return due.judged(calls, count=count, due_at=DUE_AT, versions={})


def test_arrivals_that_are_all_there_once_and_in_time_are_good() -> None:
    measurement = judged(arrivals([n / 100 for n in range(101)]), count=101)

    assert measurement.is_good
    assert measurement.arrival_ms == {
        "min": 0.0,
        "p50": 500.0,
        "p95": 950.0,
        "p99": 990.0,
        "max": 1000.0,
    }


def test_a_missing_arrival_is_counted() -> None:
    measurement = judged(arrivals([0.1, 0.2]), count=3)

    assert (measurement.missing, measurement.is_good) == (1, False)


def test_a_second_arrival_of_the_same_execution_is_counted() -> None:
    calls = arrivals([0.1, 0.2])

    measurement = judged([*calls, calls[0]], count=2)

    assert (measurement.doubled, measurement.missing, measurement.is_good) == (1, 0, False)


def test_an_arrival_after_five_seconds_is_late() -> None:
    measurement = judged(arrivals([0.1, 4.9, 5.1]), count=3)

    assert (measurement.late, measurement.is_good) == (1, False)


def test_no_arrival_at_all_is_a_result() -> None:
    measurement = judged([], count=2)

    assert (measurement.missing, measurement.arrival_ms) == (2, {})
