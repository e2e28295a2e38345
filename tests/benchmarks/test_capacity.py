"""The forecast: closed form and simulation agree, and the page shows what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import capacity, capacity_tables
from benchmarks.capacity import HEADROOM, Deployment, Work
from benchmarks.queueing import Customer, simulate

COSTS: dict[str, Any] = {
    "dispatch": {"beat_us": 40, "worker_us": 0, "postgres_us": 100, "redis_us": 1, "wal_bytes": 9},
    "run": {"beat_us": 0, "worker_us": 100, "postgres_us": 100, "redis_us": 1, "wal_bytes": 1000},
    "message": {"beat_us": 0, "worker_us": 500, "postgres_us": 200, "redis_us": 5, "wal_bytes": 0},
    "draw": {"beat_us": 10, "worker_us": 0, "postgres_us": 40, "redis_us": 0, "wal_bytes": 100},
}  # fmt: skip
ALONE = Work(rate=500.0, per_message=1)
SMALL = Deployment(cells=1, postgres_cores=2, beats=2, workers=2)


def test_the_need_of_one_execution_is_the_sum_of_its_phases_and_its_share_of_a_message() -> None:
    needs = capacity.demands(COSTS, Work(rate=1.0, job_cpu_ms=1.0, per_message=50))

    assert needs["PostgreSQL"] == pytest.approx((100 + 100 + 40 + 200 / 50) / 1e6)
    assert needs["workers"] == pytest.approx((100 + 500 / 50) / 1e6 + 0.001)
    assert needs["beats"] == pytest.approx(50 / 1e6)


def test_the_busiest_part_bounds_what_is_carried() -> None:
    found = capacity.forecast(COSTS, ALONE, SMALL)

    needs = 100 + 500  # microseconds of the two worker processes
    assert found.first == "workers"
    assert found.most == pytest.approx(2 / (needs / 1e6))


def test_what_is_overrun_has_no_times() -> None:
    found = capacity.forecast(COSTS, replace(ALONE, rate=100_000.0), SMALL)

    assert (found.even, found.bursts) == (None, None)
    assert found.utilisation[found.first] > 1


@pytest.mark.parametrize("per_message", [1, 10])
def test_the_simulation_is_as_busy_as_the_closed_form_says(per_message: int) -> None:
    work = replace(ALONE, rate=2_000.0, per_message=per_message, job_wait_ms=5.0)

    seen = capacity.simulated(COSTS, work, SMALL, capacity.evenly)

    busy = capacity.utilisation(COSTS, work, SMALL)
    for part, share in seen.utilisation(SMALL.servers).items():
        if part == "slots":
            continue  # the simulation holds a slot while the job waits, the closed form all along
        assert share == pytest.approx(busy[part], rel=0.08), part


def test_the_simulation_carries_as_much_as_the_closed_form_says() -> None:
    work = replace(ALONE, rate=30_000.0, per_message=10)
    most = capacity.forecast(COSTS, work, SMALL).most

    seen = capacity.simulated(COSTS, work, SMALL, capacity.evenly)

    carried = len(seen.starts) * work.per_message / seen.until
    assert carried == pytest.approx(most, rel=0.03)


def test_what_comes_due_together_waits_longer_than_what_comes_by_and_by() -> None:
    found = capacity.forecast(COSTS, replace(ALONE, rate=1_000.0), SMALL)

    assert found.even is not None
    assert found.bursts is not None
    assert found.bursts[1] > found.even[1]


def test_a_lone_execution_starts_after_the_service_times_before_it() -> None:
    way = capacity.stages(COSTS, ALONE)

    seen = simulate([Customer(0.0, way)], SMALL.servers)

    before = 40 + 100 + (1 + 1 + 5) + (100 + 500) / 2 + (100 + 200) / 2
    assert seen.starts == [pytest.approx(before / 1e6)]


@pytest.mark.parametrize("rate", [10.0, 1_000.0, 50_000.0])
def test_a_sized_deployment_leaves_room_in_every_part(rate: float) -> None:
    work = Work(rate=rate, job_cpu_ms=0.5, job_wait_ms=100.0, per_message=1)

    busy = capacity.utilisation(COSTS, work, capacity.sized(COSTS, work))

    assert max(busy.values()) <= HEADROOM + 1e-9


def test_the_committed_page_shows_what_the_committed_costs_say() -> None:
    page = capacity_tables.PAGE.read_text()

    assert capacity_tables.filled(page, capacity_tables.tables(capacity_tables.load())) == page


def test_a_page_without_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="no block 'costs'"):
        capacity_tables.filled("# Capacity", {"costs": "| |"})
