"""Beside the product: procrastinate, several asynchronous jobs at a time in two processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import psycopg

from benchmarks.peers import stage
from benchmarks.peers.procrastinate_app import app

PROCESSES: Final = 2
CONCURRENCY: Final = 10
DRAIN_SECONDS: Final = 240.0
LEAD_SECONDS: Final = 4.0
WARM_UP: Final = 200
LOOK_SECONDS: Final = 0.1


class Server:
    """The application as it is used from outside, and its database."""

    def __init__(self) -> None:
        app.open()
        self.database = psycopg.connect(stage.DATABASE_URL, autocommit=True)

    def ask(self, sql: LiteralString) -> Any:
        """The first column of the first row."""
        row = self.database.execute(sql).fetchone()
        return row[0] if row else None

    def defer(self, name: str, count: int, **options: Any) -> None:
        app.configure_task(name, **options).batch_defer(*([{}] * count))

    def is_done(self) -> bool:
        waiting = "SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        return bool(self.ask(f"SELECT NOT EXISTS ({waiting})"))

    def drain(self, workers: stage.Workers, count: int) -> dict[str, float]:
        """Empty the queue of `count` jobs that do nothing."""
        workers.hold()
        self.defer("noop", count)
        began = workers.release()
        stage.until(self.is_done, seconds=DRAIN_SECONDS, pause=LOOK_SECONDS)
        ended = float(self.ask("SELECT extract(epoch FROM max(at)) FROM procrastinate_events"))
        return {"seconds": ended - began, "rate": count / (ended - began)}

    def latency(self, count: int) -> dict[str, Any]:
        """How long after the instant at which `count` jobs are due each begins."""
        stage.forget_starts()
        due_at = time.time() + LEAD_SECONDS
        self.defer("clocked", count, schedule_at=datetime.fromtimestamp(due_at, UTC))
        stage.until(
            lambda: len(stage.starts()) >= count, seconds=due_at - time.time() + 60, pause=0.1
        )
        return {"waits_ms": stage.waits_ms(stage.starts(), due_at=due_at)}


def main() -> None:
    """One measurement; its JSON goes to standard output."""
    asked = stage.arguments()
    server = Server()
    app.schema_manager.apply_schema()
    with stage.workers() as workers:
        for _ in range(PROCESSES):
            workers.start(stage.python("benchmarks.peers.procrastinate_worker", str(CONCURRENCY)))
        workers.wait_ready()
        server.drain(workers, WARM_UP)
        if asked.what == "drain":
            runs = [server.drain(workers, asked.count) for _ in range(asked.runs)]
        else:
            runs = [server.latency(asked.count) for _ in range(asked.runs)]
    stage.answer(runs, processes=PROCESSES, concurrency=CONCURRENCY)


if __name__ == "__main__":
    main()
