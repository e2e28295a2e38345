"""Beside the product: django-celery-beat, whose schedules live in PostgreSQL."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any, Final

import django
import redis
from django.core.management import call_command

from benchmarks.peers import stage, watch
from benchmarks.peers.celery_app import app

django.setup()

# Django must be set up first.
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks  # noqa: E402
from django_celery_beat.schedulers import DatabaseScheduler  # noqa: E402

LEAD_SECONDS: Final = 3.0
SAMPLE_SECONDS: Final = 20.0
START_SECONDS: Final = 120.0
APP: Final = ("-A", "benchmarks.peers.celery_app")
TICKS: Final = 20
SCHEDULER: Final = "django_celery_beat.schedulers:DatabaseScheduler"

client = redis.Redis.from_url(stage.REDIS_URL, decode_responses=True)


def fill(count: int) -> None:
    """Store `count` daily schedules that ran just now."""
    daily, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.DAYS)
    now = datetime.now(UTC)
    tasks = (
        PeriodicTask(name=f"schedule {n}", task="noop", interval=daily, last_run_at=now)
        for n in range(count)
    )
    PeriodicTask.objects.bulk_create(tasks, batch_size=5_000)


def make_due(count: int, due_at: float) -> None:
    """Let `count` come due at one instant, before the beat reads them."""
    first = PeriodicTask.objects.order_by("pk").values_list("pk", flat=True)[:count]
    PeriodicTask.objects.filter(pk__in=list(first)).update(
        last_run_at=datetime.fromtimestamp(due_at, UTC) - timedelta(days=1)
    )


def due(count: int) -> dict[str, Any]:
    """How long `count` due schedules take to be published, judged by SAMPLE_SECONDS of it.

    They are due when the beat has loaded its schedules: what counts is the publishing alone.
    """
    client.delete("celery")
    make_due(count, time.time() - 1)
    with stage.workers() as beat:
        options = ("--pidfile=", "-l", "WARNING", "--max-interval", "1")
        beat.start(stage.python("celery", *APP, "beat", "-S", SCHEDULER, *options))
        began = stage.until(lambda: bool(client.llen("celery")), seconds=START_SECONDS)
        found = watch.burst(
            client,
            ["celery"],
            due_at=began,
            is_complete=lambda length: length >= count - 1,
            give_up_seconds=SAMPLE_SECONDS,
        )
    published = max(1, found.messages)
    return {
        "seconds": found.seconds / published * count,
        "published": published,
        "asked": count,
        "sampled_seconds": found.seconds,
    }


def ticks() -> dict[str, float]:
    """An idle tick, and the tick after one schedule was edited, in milliseconds."""
    scheduler = DatabaseScheduler(app=app)
    scheduler.tick()
    cuts = quantiles([_timed(scheduler.tick) for _ in range(TICKS)], n=20)
    task = PeriodicTask.objects.order_by("pk")[0]
    edits = []
    for _ in range(3):
        began = time.perf_counter()
        task.description = f"edited at {began}"
        task.save()
        PeriodicTasks.update_changed()
        scheduler.tick()
        edits.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": cuts[9], "p95_ms": cuts[18], "edit_ms": sorted(edits)[1]}


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """One measurement; its JSON goes to standard output."""
    asked = stage.arguments()
    client.flushdb()
    call_command("migrate", verbosity=0)
    fill(asked.schedules)
    measure = ticks if asked.what == "tick" else (lambda: due(asked.count))
    stage.answer([measure() for _ in range(asked.runs)], schedules=asked.schedules)


if __name__ == "__main__":
    main()
