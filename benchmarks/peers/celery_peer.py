"""Beside the product: Celery with threads, as a queue and as a timer (eta).

With PEER_RESULT_BACKEND=django-db (and Django's settings) it keeps a durable record of every task,
through django-celery-results; without, nothing is kept: that is the most Celery itself can do.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import django
import psycopg
import redis

from benchmarks.peers import stage
from benchmarks.peers.celery_app import app

PROCESSES: Final = 2
THREADS: Final = 4
DRAIN_SECONDS: Final = 180.0
LEAD_SECONDS: Final = 8.0  # to publish the tasks and to have them taken before they are due
WARM_UP: Final = 200
APP: Final = ("-A", "benchmarks.peers.celery_app")
QUIET: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING")

broker = redis.Redis.from_url(stage.REDIS_URL)
is_recorded = bool(os.environ.get("PEER_RESULT_BACKEND"))
if is_recorded:
    django.setup()


def is_empty() -> bool:
    """Nothing waits, and nothing is taken and not acknowledged (which comes before the start)."""
    return not broker.llen("celery") and not broker.hlen("unacked")


def ask(sql: LiteralString) -> Any:
    """The first column of the first row."""
    with psycopg.connect(stage.DATABASE_URL, autocommit=True) as connection:
        row = connection.execute(sql).fetchone()
    return row[0] if row else None


def publish(name: str, count: int, **options: Any) -> None:
    """Send `count` tasks over one connection."""
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(count):
            app.send_task(name, producer=producer, **options)


def drain(workers: stage.Workers, count: int) -> dict[str, float]:
    """Empty the queue of `count` tasks that do nothing."""
    known = _recorded()
    workers.hold()
    publish("noop", count)
    began = workers.release()
    ended = stage.until(is_empty, seconds=DRAIN_SECONDS)
    if is_recorded:
        stage.until(lambda: _recorded() >= known + count, seconds=DRAIN_SECONDS, pause=0.05)
        ended = float(
            ask("SELECT extract(epoch FROM max(date_done)) FROM django_celery_results_taskresult")
        )
    return {"seconds": ended - began, "rate": count / (ended - began)}


def _recorded() -> int:
    if not is_recorded:
        return 0
    return int(ask("SELECT count(*) FROM django_celery_results_taskresult"))


def latency(count: int) -> dict[str, Any]:
    """How long after the instant at which `count` tasks are due each begins."""
    stage.forget_starts()
    due_at = time.time() + LEAD_SECONDS
    publish("clocked", count, eta=datetime.fromtimestamp(due_at, UTC))
    stage.until(lambda: len(stage.starts()) >= count, seconds=due_at - time.time() + 60, pause=0.1)
    return {"waits_ms": stage.waits_ms(stage.starts(), due_at=due_at)}


@contextmanager
def running() -> Iterator[stage.Workers]:
    """PROCESSES warm workers."""
    if is_recorded:
        migrate = stage.python("django", "migrate", "--verbosity=0")
        subprocess.run(migrate, cwd=stage.CHECKOUT, check=True)
    with stage.workers() as workers:
        for number in range(PROCESSES):
            pool = ("-P", "threads", "-c", str(THREADS), "-n", f"worker{number}@%h")
            workers.start(stage.python("celery", *APP, "worker", *pool, *QUIET))
        workers.wait_ready()
        publish("noop", WARM_UP)
        stage.until(is_empty, seconds=DRAIN_SECONDS)
        yield workers


def main() -> None:
    """One measurement; its JSON goes to standard output."""
    asked = stage.arguments()
    broker.flushdb()
    with running() as workers:
        if asked.what == "drain":
            runs = [drain(workers, asked.count) for _ in range(asked.runs)]
        else:
            runs = [latency(asked.count) for _ in range(asked.runs)]
    stage.answer(runs, processes=PROCESSES, threads=THREADS, prefetch_multiplier=128)


if __name__ == "__main__":
    main()
