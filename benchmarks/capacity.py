"""Around very many executions: what many machines can carry, from measured costs.

A cell is one PostgreSQL with its own Redis, beats and workers; tenants are spread over cells, which
share nothing. For every part of a cell this says how busy it is and which is the first to be at its
end, in closed form; how long executions wait for their start, by simulation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.quantities import percentile
from benchmarks.queueing import Customer, Observed, Stage, simulate

Costs = Mapping[str, Any]
MICRO: Final = 1e6
MILLI: Final = 1e3
MEGABYTE: Final = 1e6
PHASES: Final = ("dispatch", "run", "draw")
HEADROOM: Final = 0.6  # how busy a part may be when it is sized
SIMULATED_SECONDS: Final = 10
MOST_CORES: Final = 16  # of one PostgreSQL server
DISK_MEGABYTES: Final = 200.0  # of WAL that a server's disk takes each second
SEED: Final = 7
SLOTS: Final = 1_000  # executions at once in one worker process, as the Procfile starts it


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be carried: `rate` executions a second, each of so much CPU and waiting."""

    rate: float
    job_cpu_ms: float = 0.0
    job_wait_ms: float = 0.0
    per_message: int = 50


@dataclass(frozen=True, slots=True)
class Deployment:
    """How many cells, and of what each of them has."""

    cells: int
    postgres_cores: int
    beats: int
    workers: int
    slots: int = SLOTS

    @property
    def servers(self) -> dict[str, int]:
        """What serves in one cell, by part. Redis answers with one thread, Python with one core."""
        return {
            "beats": self.beats,
            "PostgreSQL": self.postgres_cores,
            "Redis": 1,
            "workers": self.workers,
            "slots": self.workers * self.slots,
        }


@dataclass(frozen=True, slots=True)
class Forecast:
    """What becomes of the work: each part's utilisation, and the seconds until executions start."""

    utilisation: dict[str, float]
    most: float
    first: str
    even: tuple[float, float] | None
    bursts: tuple[float, float] | None


def demands(costs: Costs, work: Work) -> dict[str, float]:
    """Seconds of each part's servers for one execution."""

    def cpu(part: str) -> float:
        phases = sum(costs[phase][f"{part}_us"] for phase in PHASES)
        return float(phases + costs["message"][f"{part}_us"] / work.per_message) / MICRO

    job = work.job_cpu_ms / MILLI
    return {
        "beats": cpu("beat"),
        "PostgreSQL": cpu("postgres"),
        "Redis": cpu("redis"),
        "workers": cpu("worker") + job,
        "slots": cpu("worker") + job + work.job_wait_ms / MILLI,
    }


def wal_bytes(costs: Costs, work: Work) -> float:
    """Bytes of write-ahead log for one execution."""
    phases = sum(costs[phase]["wal_bytes"] for phase in PHASES)
    return float(phases + costs["message"]["wal_bytes"] / work.per_message)


def utilisation(costs: Costs, work: Work, deployment: Deployment) -> dict[str, float]:
    """How busy each part of a cell is, 0 to 1 and above where it is overrun; in closed form."""
    rate = work.rate / deployment.cells
    servers = deployment.servers
    busy = {part: rate * need / servers[part] for part, need in demands(costs, work).items()}
    return {**busy, "WAL": rate * wal_bytes(costs, work) / (DISK_MEGABYTES * MEGABYTE)}


def forecast(costs: Costs, work: Work, deployment: Deployment) -> Forecast:
    """What becomes of `work`; without times where a part is overrun and lines only grow."""
    busy = utilisation(costs, work, deployment)
    first = max(busy, key=lambda part: busy[part])
    fits = busy[first] < 1
    return Forecast(
        utilisation=busy,
        most=work.rate / busy[first],
        first=first,
        even=_wait(costs, work, deployment, evenly) if fits else None,
        bursts=_wait(costs, work, deployment, on_the_second) if fits else None,
    )


def sized(costs: Costs, work: Work) -> Deployment:
    """The smallest deployment that carries `work` with no part busier than HEADROOM."""
    need = {part: work.rate * one / HEADROOM for part, one in demands(costs, work).items()}
    wal = work.rate * wal_bytes(costs, work) / MEGABYTE / (DISK_MEGABYTES * HEADROOM)
    cells = max(1, math.ceil(max(need["PostgreSQL"] / MOST_CORES, need["Redis"], wal)))
    return Deployment(
        cells=cells,
        postgres_cores=max(1, math.ceil(need["PostgreSQL"] / cells)),
        beats=max(2, math.ceil(need["beats"] / cells)),
        workers=max(1, math.ceil(max(need["workers"], need["slots"] / SLOTS) / cells)),
    )


def stages(costs: Costs, work: Work) -> list[Stage]:
    """The way of one message: dispatched, published, claimed, run, stored, consequences drawn.

    Half of what a run costs is taken for its claim and half for its outcome.
    """
    many = work.per_message

    def all_of(phase: str, part: str, share: float = 1.0) -> float:
        whole = many * costs[phase][f"{part}_us"]
        if phase == "run":
            whole += costs["message"][f"{part}_us"]
        return float(whole) * share / MICRO

    way = [
        Stage("beats", all_of("dispatch", "beat")),
        Stage("PostgreSQL", all_of("dispatch", "postgres")),
        Stage("Redis", all_of("dispatch", "redis") + all_of("run", "redis")),
        Stage("workers", all_of("run", "worker", 0.5)),
        Stage("PostgreSQL", all_of("run", "postgres", 0.5)),
        Stage("workers", many * work.job_cpu_ms / MILLI, is_start=True),
        Stage("slots", many * work.job_wait_ms / MILLI),
        Stage("workers", all_of("run", "worker", 0.5)),
        Stage("PostgreSQL", all_of("run", "postgres", 0.5)),
        Stage("beats", all_of("draw", "beat")),
        Stage("PostgreSQL", all_of("draw", "postgres")),
    ]
    return [one for one in way if one.seconds or one.is_start]


Arrivals = Callable[[float, random.Random], Iterator[float]]


def evenly(rate: float, dice: random.Random) -> Iterator[float]:
    """Instants of `rate` messages a second that know nothing of each other (Poisson)."""
    now = dice.expovariate(rate)
    while now < SIMULATED_SECONDS:
        yield now
        now += dice.expovariate(rate)


def on_the_second(rate: float, _dice: random.Random) -> Iterator[float]:
    """All messages of a second at its beginning, as schedules with round times come due."""
    for second in range(SIMULATED_SECONDS):
        number = int(rate * (second + 1)) - int(rate * second)
        yield from [float(second)] * number


def simulated(costs: Costs, work: Work, deployment: Deployment, arrivals: Arrivals) -> Observed:
    """One cell over SIMULATED_SECONDS, message by message, until the last has passed."""
    rate = work.rate / deployment.cells / work.per_message
    way = stages(costs, work)
    instants = arrivals(rate, random.Random(SEED))
    return simulate([Customer(at, way) for at in instants], deployment.servers)


def _wait(
    costs: Costs, work: Work, deployment: Deployment, arrivals: Arrivals
) -> tuple[float, float]:
    """Seconds from due to start, p50 and p99; the later ones of a message wait for the earlier."""
    starts = simulated(costs, work, deployment, arrivals).starts
    each = (work.job_cpu_ms + work.job_wait_ms) / MILLI
    waits = [start + place * each for start in starts for place in range(work.per_message)]
    return percentile(waits, 50), percentile(waits, 99)
