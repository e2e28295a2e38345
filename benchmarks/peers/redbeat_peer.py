"""Beside the product: redbeat, the fastest Celery beat: its schedules live in Redis."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any, Final

import redis
from celery.schedules import schedule
from redbeat import RedBeatScheduler, RedBeatSchedulerEntry
from redbeat.schedulers import RedBeatConfig

from benchmarks.peers import stage, watch
from benchmarks.peers.celery_app import app

INTERVAL: Final = timedelta(days=1)
LEAD_SECONDS: Final = 8
GIVE_UP_SECONDS: Final = 120.0
AT_ONCE: Final = 10_000
WARM_UP: Final = 100
APP: Final = ("-A", "benchmarks.peers.celery_app")
TICKS: Final = 300

SCHEDULE: Final = RedBeatConfig(app).schedule_key

client = redis.Redis.from_url(stage.REDIS_URL, decode_responses=True)


def fill(count: int) -> list[str]:
    """Store `count` schedules, far from due, as `save` would one by one; answers their keys."""
    model = RedBeatSchedulerEntry("model", "noop", schedule(INTERVAL), app=app)
    model.last_run_at = datetime.now(UTC)
    model.save()
    stored: dict[Any, Any] = client.hgetall(model.key)
    keys = [RedBeatSchedulerEntry.generate_key(app, f"schedule {n}") for n in range(count)]
    for begin in range(0, count, AT_ONCE):
        with client.pipeline(transaction=False) as pipeline:
            for number, key in enumerate(keys[begin : begin + AT_ONCE], begin):
                own = stored["definition"].replace('"model"', f'"schedule {number}"')
                entry: dict[Any, Any] = {**stored, "definition": own}
                pipeline.hset(key, mapping=entry)
                pipeline.zadd(SCHEDULE, {key: model.score})
            pipeline.execute()
    model.delete()
    return keys


def make_due(keys: list[str], due_at: float) -> None:
    """Let these come due at one instant."""
    example = RedBeatSchedulerEntry("example", "noop", schedule(INTERVAL), app=app).save()
    example.reschedule(datetime.fromtimestamp(due_at, UTC) - INTERVAL)
    meta = client.hget(example.key, "meta")
    example.delete()
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hset(key, "meta", meta)
            pipeline.zadd(SCHEDULE, {key: due_at})
        pipeline.execute()


def due(keys: list[str], count: int) -> dict[str, Any]:
    """How long after the instant at which `count` are due the last message is published."""
    client.delete("celery")
    due_at = float(int(time.time()) + LEAD_SECONDS)
    make_due(keys[:count], due_at)
    found = watch.burst(
        client,
        ["celery"],
        due_at=due_at,
        is_complete=lambda length: length >= count,
        give_up_seconds=GIVE_UP_SECONDS,
    )
    return {"seconds": found.seconds, "published": found.messages, "asked": count}


def ticks(keys: list[str]) -> dict[str, float]:
    """An idle tick, and the tick after one schedule was edited, in milliseconds."""
    scheduler = RedBeatScheduler(app=app, lazy=False)
    cuts = quantiles([_timed(scheduler.tick) for _ in range(TICKS)], n=20)
    entry = RedBeatSchedulerEntry.from_key(keys[0], app=app)
    edits = [_timed(entry.save) + _timed(scheduler.tick) for _ in range(20)]
    return {"p50_ms": cuts[9], "p95_ms": cuts[18], "edit_ms": sorted(edits)[10]}


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """One measurement; its JSON goes to standard output."""
    asked = stage.arguments()
    client.flushdb()
    keys = fill(asked.schedules)
    if asked.what == "tick":
        stage.answer([ticks(keys) for _ in range(asked.runs)], schedules=asked.schedules)
        return
    with stage.workers() as beat:
        scheduler = ("-S", "redbeat.RedBeatScheduler", "--max-interval", "1")
        options = ("--pidfile=", "-l", "WARNING")
        beat.start(stage.python("celery", *APP, "beat", *scheduler, *options))
        due(keys, WARM_UP)
        runs = [due(keys, asked.count) for _ in range(asked.runs)]
    stage.answer(runs, max_interval_seconds=1, lock="off (one beat)", schedules=asked.schedules)


if __name__ == "__main__":
    main()
