"""Beside the product: the Celery application of the peers that are built on Celery."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_ready

from benchmarks.peers import stage

app = Celery("peer")
app.conf.update(
    broker_url=stage.REDIS_URL,
    redbeat_redis_url=stage.REDIS_URL,
    redbeat_lock_key=None,
    result_backend=os.environ.get("PEER_RESULT_BACKEND") or None,
    task_ignore_result=not os.environ.get("PEER_RESULT_BACKEND"),
    task_acks_late=False,
    worker_disable_rate_limits=True,
    worker_prefetch_multiplier=128,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    enable_utc=True,
    timezone="UTC",
    CELERY_DB_REUSE_MAX=1_000_000,  # or the Django fixup closes the connection around every task
)


@app.task(name="noop")
def noop() -> None:
    """Nothing."""


@app.task(name="clocked")
def clocked() -> None:
    """A note of the time."""
    stage.note_start()


@worker_ready.connect
def _ready(**_: object) -> None:
    stage.say_ready()
