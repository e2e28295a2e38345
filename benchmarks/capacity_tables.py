"""Around very many executions: the tables of `docs/operations/capacity.md`, made from the costs.

`python -m benchmarks.capacity_tables` writes them, `--print` shows them. `python -m
benchmarks.costs` measures the costs anew and then does the same.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.capacity import (
    DISK_MEGABYTES,
    HEADROOM,
    MEGABYTE,
    MOST_CORES,
    Costs,
    Deployment,
    Work,
    demands,
    forecast,
    sized,
    wal_bytes,
)
from benchmarks.quantities import readable

HERE: Final = Path(__file__).parent
COSTS: Final = HERE / "costs.json"
PAGE: Final = HERE.parent / "docs" / "operations" / "capacity.md"
BLOCK: Final = "<!-- {name}: generated -->\n\n{table}\n\n<!-- /{name} -->"
PHASES: Final = {
    "dispatch": "an execution dispatched: row, fire record, event, next run, message",
    "run": "an execution run: claimed, handler, outcome stored, two events",
    "message": "on top, for each message that carries them",
    "draw": "its consequences drawn: statistics, closed errors",
}
CPU: Final = ("beat", "worker", "postgres", "redis")
SCHEDULES: Final = 1_000_000
DAY_SECONDS: Final = 86_400
RATES: Final = {"a day": 86_400, "an hour": 3_600, "five minutes": 300, "100 seconds": 100}
WORKS: Final = {
    "nothing": Work(rate=1.0),
    "HTTP call of 200 ms": Work(rate=1.0, job_cpu_ms=2.0, job_wait_ms=200.0, per_message=1),
}


def tables(costs: Costs) -> dict[str, str]:
    """Every generated table by its name."""
    return {
        "costs": _costs(costs),
        "one": _one(costs),
        "schedules": _schedules(costs),
        "sized": _sized(costs),
        "grown": _grown(costs),
        "assumed": _assumed(costs),
    }


def _costs(costs: Costs) -> str:
    rows = [
        [
            words,
            *(readable(costs[phase][f"{part}_us"]) for part in CPU),
            readable(costs[phase]["wal_bytes"]),
        ]
        for phase, words in PHASES.items()
    ]
    idle = costs["idle_a_second"]
    rows.append(["a second of doing nothing", *(readable(idle[f"{part}_us"]) for part in CPU), "-"])
    return _table(["CPU in us", "beat", "workers", "PostgreSQL", "Redis", "WAL bytes"], rows)


def _one(costs: Costs) -> str:
    work = Work(rate=1.0)
    alone = replace(work, per_message=1)
    names = {"beats": "beat", "PostgreSQL": "core of PostgreSQL", "Redis": "Redis",
             "workers": "core of workers"}  # fmt: skip
    rows = [
        [f"one {words}", *(readable(1 / demands(costs, one)[part]) for one in (work, alone))]
        for part, words in names.items()
    ]
    rows.append(
        [
            f"{DISK_MEGABYTES:.0f} MB of WAL a second",
            *(readable(DISK_MEGABYTES * MEGABYTE / wal_bytes(costs, one)) for one in (work, alone)),
        ]
    )
    return _table(["fully busy", "executions/s, 50 to a message", "one to a message"], rows)


def _schedules(costs: Costs) -> str:
    stored = sum(costs["stored_bytes"].values())
    rows = []
    for words, seconds in RATES.items():
        rate = SCHEDULES / seconds
        gigabytes = rate * DAY_SECONDS * stored / 1e9
        wal = rate * wal_bytes(costs, Work(rate)) / MEGABYTE
        rows.append([words, readable(rate), f"{readable(wal)} MB/s", f"{readable(gigabytes)} GB"])
    return _table(["each once in", "executions/s", "WAL", "stored a day"], rows)


def _sized(costs: Costs) -> str:
    rows = []
    for words, work in WORKS.items():
        for rate in (100.0, 1_000.0, 10_000.0):
            wanted = replace(work, rate=rate)
            rows.append([words, *_row(costs, wanted, sized(costs, wanted))])
    return _table(["job", *HEAD], rows)


HEAD: Final = (
    "executions/s", "cells", "PostgreSQL cores", "beats", "worker processes", "carries at most",
    "busiest part", "start p50 / p99", "on the second",
)  # fmt: skip


def _row(costs: Costs, work: Work, made: Deployment) -> list[str]:
    found = forecast(costs, work, made)
    return [
        readable(work.rate),
        str(made.cells),
        f"{made.cells} x {made.postgres_cores}",
        f"{made.cells} x {made.beats}",
        f"{made.cells} x {made.workers}",
        readable(found.most),
        f"{found.first} {found.utilisation[found.first]:.0%}",
        _times(found.even),
        _times(found.bursts),
    ]


def _grown(costs: Costs) -> str:
    """What becomes of one cell sized for 1,000 when ten times as much comes, part by part."""
    work = replace(WORKS["nothing"], rate=1_000.0)
    much = replace(work, rate=10_000.0)
    made, enough = sized(costs, work), sized(costs, much)
    more = [
        ("as sized for 1,000", made),
        ("more workers", made := replace(made, workers=enough.cells * enough.workers)),
        ("more beats as well", made := replace(made, beats=enough.cells * enough.beats)),
        (f"PostgreSQL with {MOST_CORES} cores", made := replace(made, postgres_cores=MOST_CORES)),
        ("split into cells by tenant", enough),
    ]
    return _table(["at 10,000 a second", *HEAD], [[words, *_row(costs, much, one)]
                  for words, one in more])  # fmt: skip


def _assumed(costs: Costs) -> str:
    machine, versions, durable = costs["machine"], costs["versions"], costs["durability"]
    most = f"{MOST_CORES} cores, {DISK_MEGABYTES:.0f} MB of WAL a second"
    rows = [
        ["measured on", f"{machine['cpus']} cores of {machine['processor']}"],
        ["load of the machine at the end", str(machine["load"])],
        ["executions in each measurement", f"{costs['executions']:,}"],
        ["executions in a message there", readable(float(costs["executions_per_message"]))],
        ["PostgreSQL", durable["server_version"]],
        [
            "synchronous_commit, fsync",
            "{synchronous_commit}, {fsync}".format(**costs["durability"]),
        ],
        ["Python", versions["python"]],
        ["a part is sized to be busy", f"{HEADROOM:.0%}"],
        ["one PostgreSQL has at most", most],
    ]
    stored = [[f"bytes of an execution in {name}", f"{size:,}"]
              for name, size in costs["stored_bytes"].items()]  # fmt: skip
    return _table(["", ""], [*rows, *stored])


def _times(waits: tuple[float, float] | None) -> str:
    if waits is None:
        return "grows"
    return " / ".join(f"{readable(one * 1_000)}" for one in waits) + " ms"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(page: str, made: Mapping[str, str]) -> str:
    """The page with every generated block replaced; raises ValueError if it lacks one."""
    for name, table in made.items():
        block = re.compile(rf"<!-- {name}: generated -->\n.*?<!-- /{name} -->", re.DOTALL)
        if not block.search(page):
            raise ValueError(f"The page has no block {name!r}")
        page = block.sub(lambda _: BLOCK.format(name=name, table=table), page)  # noqa: B023  used at once
    return page


def load() -> Costs:
    """The measured costs that are committed."""
    costs: Costs = json.loads(COSTS.read_text())
    return costs


def write() -> None:
    """Bring the page up to date with the costs."""
    PAGE.write_text(filled(PAGE.read_text(), tables(load())))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_tables")
    parser.add_argument("--print", action="store_true", help="show the tables, write nothing")
    if parser.parse_args().print:
        print("\n\n".join(tables(load()).values()))
    else:
        write()


if __name__ == "__main__":
    main()
