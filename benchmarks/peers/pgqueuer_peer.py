"""Beside the product: pgqueuer, two worker processes, batches of 500, every table durable."""

from __future__ import annotations

import asyncio
import subprocess
import time
from datetime import timedelta
from functools import cache
from typing import Any, Final, LiteralString

import asyncpg
import psycopg
from pgqueuer import AsyncpgDriver, Queries

from benchmarks.peers import stage

PROCESSES: Final = 2
BATCH: Final = 500
LEAD_SECONDS: Final = 3.0
DRAIN_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.05


async def _enqueue(name: str, count: int, after: timedelta | None = None) -> None:
    connection = await asyncpg.connect(stage.DATABASE_URL)
    try:
        queries = Queries(AsyncpgDriver(connection))
        afters = None if after is None else [after] * count
        await queries.enqueue([name] * count, [None] * count, [0] * count, afters)
    finally:
        await connection.close()


def ask(sql: LiteralString) -> Any:
    """The first column of the first row."""
    row = _connection().execute(sql).fetchone()
    return row[0] if row else None


@cache
def _connection() -> psycopg.Connection[Any]:
    return psycopg.connect(stage.DATABASE_URL, autocommit=True)


def install() -> None:
    """The tables, and autovacuum as its own command sets it."""
    for command in (["install"], ["autovac"]):
        subprocess.run(
            stage.python("pgqueuer", "--pg-dsn", stage.DATABASE_URL, *command),
            check=True,
            capture_output=True,
        )


def drain(workers: stage.Workers, count: int) -> dict[str, float]:
    """Empty the queue of `count` jobs that do nothing."""
    _connection().execute("TRUNCATE pgqueuer_log")
    workers.hold()
    asyncio.run(_enqueue("noop", count))
    began = workers.release()
    stage.until(
        lambda: bool(ask("SELECT NOT EXISTS (SELECT FROM pgqueuer)")),
        seconds=DRAIN_SECONDS,
        pause=LOOK_SECONDS,
    )
    ended = float(ask("SELECT extract(epoch FROM max(created)) FROM pgqueuer_log"))
    return {"seconds": ended - began, "rate": count / (ended - began)}


def latency(count: int) -> dict[str, Any]:
    """How long after the instant at which `count` jobs are due each begins."""
    stage.forget_starts()
    asyncio.run(_enqueue("clocked", count, timedelta(seconds=LEAD_SECONDS)))
    due_at = float(ask("SELECT extract(epoch FROM max(execute_after)) FROM pgqueuer"))
    stage.until(lambda: len(stage.starts()) >= count, seconds=due_at - time.time() + 60, pause=0.1)
    return {"waits_ms": stage.waits_ms(stage.starts(), due_at=due_at)}


def main() -> None:
    """One measurement; its JSON goes to standard output."""
    asked = stage.arguments()
    install()
    with stage.workers() as workers:
        for _ in range(PROCESSES):
            workers.start(stage.python("benchmarks.peers.pgqueuer_app", str(BATCH)))
        workers.wait_ready()
        drain(workers, 1_000)
        if asked.what == "drain":
            runs = [drain(workers, asked.count) for _ in range(asked.runs)]
        else:
            runs = [latency(asked.count) for _ in range(asked.runs)]
    stage.answer(runs, processes=PROCESSES, batch_size=BATCH, driver="asyncpg", event_loop="uvloop")


if __name__ == "__main__":
    main()
