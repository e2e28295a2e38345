"""Beside the product: a pgqueuer worker, as its command line runs one: asyncpg on uvloop.

(The command line itself does not start with the newest typer.)
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer, run

from benchmarks.peers import stage


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    """One connection for the worker, two jobs: nothing, and a note of the time."""
    connection = await asyncpg.connect(stage.DATABASE_URL)
    queue = PgQueuer(AsyncpgDriver(connection))

    @queue.entrypoint("noop")
    async def noop(_job: Job) -> None:
        pass

    @queue.entrypoint("clocked")
    async def clocked(_job: Job) -> None:
        stage.note_start()

    stage.say_ready()
    try:
        yield queue
    finally:
        await connection.close()


if __name__ == "__main__":
    uvloop.run(run(main, batch_size=int(sys.argv[1])))
