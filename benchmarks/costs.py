"""Around one execution's life: what each part of the system pays for it, measured.

`python -m benchmarks.costs` brings up an installation of its own, leads a crowd of executions that
do nothing through dispatch, run and consequences, one phase after the other, and divides what every
process used by their number. It writes `costs.json` and the tables of `docs/operations/capacity.md`
that follow from it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from benchmarks import capacity_tables, installation, machine
from benchmarks.capacity import MICRO
from benchmarks.installation import Installation, MeasurementImpossible
from benchmarks.programs import BEATS, WORKERS, Programs
from config.embedded_daemon import wait_until

EXECUTIONS: Final = 10_000
IDLE_SECONDS: Final = 5.0
PHASE_SECONDS: Final = 180.0
AHEAD_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.1

SIZES: Final = """
SELECT parent.relname, sum(pg_total_relation_size(part.inhrelid))::bigint
FROM pg_class parent JOIN pg_inherits part ON part.inhparent = parent.oid
WHERE parent.relkind = 'p' AND parent.relname = ANY(%s) GROUP BY 1
"""
STORED: Final = ["task_executions", "fire_records", "events"]
CONNECTIONS: Final = """
SELECT application_name, count(*) FROM pg_stat_activity
WHERE application_name LIKE 'cadenza-%%' GROUP BY 1
"""


@dataclass
class Used:
    """What was used between two looks: CPU in seconds by part, bytes of WAL, seconds passed."""

    seconds: float
    wal_bytes: float
    cpu: dict[str, float] = field(default_factory=dict)

    def per(self, count: int) -> dict[str, float]:
        """Microseconds and WAL bytes for one of `count`; what idles meanwhile is in it."""
        costs = {f"{part}_us": used * MICRO / count for part, used in self.cpu.items()}
        costs["wal_bytes"] = self.wal_bytes / count
        return {name: round(value, 2) for name, value in costs.items()}

    def a_second(self) -> dict[str, float]:
        """Microseconds of CPU and WAL bytes a second."""
        costs = {f"{part}_us": used * MICRO / self.seconds for part, used in self.cpu.items()}
        return {**{name: round(value, 1) for name, value in costs.items()}}


@dataclass
class Meter:
    """Reads the clocks of every process of one installation."""

    ours: Installation
    groups: dict[str, Programs]

    @contextmanager
    def reading(self) -> Iterator[Used]:
        """What is used while the block runs; filled in at its end."""
        used = Used(0.0, 0.0)
        before, wal, began = self._cpu(), self._wal(), time.monotonic()
        yield used
        after = self._cpu()
        used.seconds = time.monotonic() - began
        used.wal_bytes = self._wal() - wal
        used.cpu = {part: after[part] - before[part] for part in after}

    def _wal(self) -> float:
        return float(self.ours.ask("SELECT (pg_current_wal_insert_lsn() - '0/0')::float8"))

    def _cpu(self) -> dict[str, float]:
        broker: Any = self.ours.broker.info("cpu")
        return {
            **{part: sum(map(_family_seconds, _pids(one))) for part, one in self.groups.items()},
            "postgres": self._postgres_seconds(),
            "redis": float(broker["used_cpu_user"]) + float(broker["used_cpu_sys"]),
        }

    def _postgres_seconds(self) -> float:
        """All of PostgreSQL, processes that have ended included, without this connection's own."""
        own = psutil.Process(self.ours.database.info.backend_pid)
        server = own.parent()
        if server is None:
            raise MeasurementImpossible("PostgreSQL's own process is not to be seen from here")
        return _family_seconds(server.pid) - _seconds(own)


def _pids(programs: Programs) -> list[int]:
    return [one.child.pid for one in programs.running.values() if one.child is not None]


def _family_seconds(pid: int) -> float:
    """CPU of a process, of what it has started, and of what it has started and seen end."""
    process = psutil.Process(pid)
    ended = process.cpu_times()
    living = sum(_seconds(one) for one in [process, *process.children(recursive=True)])
    return living + ended.children_user + ended.children_system


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def measure(executions: int = EXECUTIONS) -> dict[str, Any]:
    """Every cost of one execution; raises MeasurementImpossible."""
    with installation.running() as ours:
        beats = Programs(ours.environment, ours.folder / "beats")
        workers = Programs(ours.environment, ours.folder / "workers")
        for one in (beats, workers):
            one.logs.mkdir()
        try:
            return _measure(ours, beats, workers, executions)
        finally:
            for one in (beats, workers):
                one.release()
                one.stop()


def _measure(
    ours: Installation, beats: Programs, workers: Programs, executions: int
) -> dict[str, Any]:
    meter = Meter(ours, {"beat": beats, "worker": workers})
    ours.fill(executions)
    workers.start(WORKERS)
    beats.start(BEATS[:1])
    _tell("a first crowd, so that everything is warm")
    _live(ours, meter, beats, workers, executions)
    _tell("nothing to do")
    time.sleep(IDLE_SECONDS)  # what the crowd left to be done is done by then
    with meter.reading() as idle:
        time.sleep(IDLE_SECONDS)
    _tell(f"{executions:,} executions: dispatched, run, consequences drawn")
    dispatch, run, draw, messages = _live(ours, meter, beats, workers, executions)
    stored, connections = _stored(ours, executions), dict(_rows(ours, CONNECTIONS))
    _tell(f"{executions:,} executions, each in a message of its own")
    alone = _alone(ours, meter, beats, workers, executions)
    in_slices, apart = run.per(executions), alone.per(executions)
    more_messages = 1 - messages / executions
    message = {
        name: round(max(0.0, apart[name] - in_slices[name]) / more_messages, 2) for name in apart
    }
    execution = {
        name: round(max(0.0, in_slices[name] - message[name] * messages / executions), 2)
        for name in in_slices
    }
    return {
        "dispatch": dispatch.per(executions),
        "run": execution,
        "message": message,
        "draw": draw.per(executions),
        "idle_a_second": idle.a_second(),
        "stored_bytes": stored,
        "connections": connections,
        "executions": executions,
        "executions_per_message": round(executions / messages, 1),
        "machine": machine.described(),
        "versions": {**machine.versions(), "redis server": machine.redis_version(ours.broker)},
        "durability": ours.durability(),
    }


def _live(
    ours: Installation, meter: Meter, beats: Programs, workers: Programs, executions: int
) -> tuple[Used, Used, Used, int]:
    """One crowd through its three phases, each with the other processes held still."""
    ours.forget()
    workers.hold()
    due_at = ours.make_due(executions, of=executions, after_seconds=AHEAD_SECONDS)
    time.sleep(max(0.0, due_at - time.time()))
    with meter.reading() as dispatch:
        _until(lambda: _count(ours, "published_at IS NOT NULL") == executions, "published")
    beats.hold()
    messages = sum(int(ours.broker.llen(one)) for one in installation.QUEUES)
    with meter.reading() as run:
        workers.release()
        ours.wait_completed(executions, seconds=PHASE_SECONDS)
    workers.hold()
    with meter.reading() as draw:
        beats.release()
        _until(lambda: ours.ask("SELECT count(*) FROM outcome_inbox") == 0, "drawn")
    workers.release()
    return dispatch, run, draw, messages


def _alone(
    ours: Installation, meter: Meter, beats: Programs, workers: Programs, executions: int
) -> Used:
    ours.forget()
    beats.hold()
    workers.hold()
    ours.inside("queue", count=executions, most_per_message=1)
    with meter.reading() as alone:
        workers.release()
        ours.wait_completed(executions, seconds=PHASE_SECONDS)
    return alone


def _stored(ours: Installation, executions: int) -> dict[str, int]:
    """Bytes of one execution in each table, indexes included."""
    sizes = {name: size // executions for name, size in _rows(ours, SIZES, [STORED])}
    return dict(sorted(sizes.items()))


def _rows(ours: Installation, statement: Any, parameters: Any = ()) -> list[tuple[Any, ...]]:
    return ours.database.execute(statement, parameters).fetchall()


def _count(ours: Installation, condition: Any) -> int:
    found: int = ours.ask(f"SELECT count(*) FROM task_executions WHERE {condition}")
    return found


def _until(look: Callable[[], bool], what: str) -> None:
    if not wait_until(look, seconds=PHASE_SECONDS, pause=LOOK_SECONDS):
        raise MeasurementImpossible(f"Not everything was {what} within {PHASE_SECONDS:g} s")


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the costs and write nothing")
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    options = parser.parse_args()
    costs = json.dumps(measure(options.executions), indent=2) + "\n"
    if options.json:
        print(costs, end="")
        return
    capacity_tables.COSTS.write_text(costs)
    capacity_tables.write()


if __name__ == "__main__":
    main()
