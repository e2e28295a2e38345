"""The Celery application: four priority queues plus `system`, early ack, ids only.

Every value follows one rule: PostgreSQL is the truth and a message is a wake-up hint, so nothing
here is asked to recover anything.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from contextlib import suppress
from queue import Empty
from typing import Any, Final

from celery import Celery, bootsteps
from celery.signals import (
    beat_init,
    celeryd_after_setup,
    setup_logging,
    worker_process_init,
    worker_ready,
    worker_shutting_down,
)
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings
from django.db import connection

from config.env import env
from executions_app import migrated

app = Celery("cadenza")
logger = logging.getLogger(__name__)

GARBAGE_AFTER: Final = 20_000  # objects; Python's 700 means a collection for every few executions

CLOSED: Final = bootsteps.CLOSE  # type: ignore[attr-defined]  # its types do not know it
QUEUES = ("critical", "high", "normal", "low", "system")
SOCKET = {
    # A beat only sends, and has other things to do than to wait; a worker's reads take a second.
    "socket_timeout": 2 if env.cadenza_role == "beat" else 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "retry_on_timeout": False,
}

app.conf.update(
    broker_url=settings.REDIS_BROKER_URL,
    task_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    enable_utc=True,
    timezone="UTC",
    task_ignore_result=True,
    # Only the chords of cycles have results, which say no more than that a wave has ended.
    result_backend=settings.REDIS_RESULTS_URL,
    result_expires=3600,
    result_chord_expires=86_400,
    result_backend_transport_options={"retry_policy": {"timeout": 5.0, "max_retries": 1}},
    redis_socket_timeout=5.0,
    redis_socket_connect_timeout=3.0,
    redis_retry_on_timeout=False,
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    task_create_missing_queues=False,
    task_default_queue="normal",
    task_queues=[Queue(name, Exchange(name, "direct"), routing_key=name) for name in QUEUES],
    task_publish_retry=False,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_eta_task_limit=100,
    worker_proc_alive_timeout=15,
    # KiB, of a child of a prefork pool: looked at between two messages, when it holds no lease.
    worker_max_memory_per_child=env.worker_max_memory_mb * 1024 or None,
    worker_hijack_root_logger=False,
    worker_send_task_events=env.celery_task_events,
    task_send_sent_event=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_timeout=4,
    broker_pool_limit=10,
    broker_pool_acquire_timeout=5,
    beat_max_loop_interval=1,
    beat_schedule={
        "close stale sessions": {
            "task": "cadenza.close_stale_sessions",
            "schedule": 30.0,
            "options": {"queue": "system", "expires": 30},
        },
        "apply retention": {
            "task": "cadenza.apply_retention",
            "schedule": 3600.0,
            "options": {"queue": "system", "expires": 3600},
        },
    },
    broker_transport_options={
        "visibility_timeout": 900,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "priority",
        "priority_steps": [0],
        "max_connections": 20,
        **SOCKET,
    },
)
# Celery would close every connection before and after each message: `agents_app.connections` says
# when one is given back.
app.conf["CELERY_DB_REUSE_MAX"] = 1_000_000_000
app.autodiscover_tasks()


class LastMessages(bootsteps.StartStopStep):
    """Leaves nothing with a worker that is told to stop, which would wait for all that it runs.

    Its last question to Redis may still be open, for a second at most, and Celery reads the answer
    when nothing runs any more. Read at once, the message has no consumer and goes back into its
    queue. So does what was read already and is not acknowledged yet: a pool of processes has just
    thrown away what it had not written to a child, and the worker would give it back as it ends.
    What a child or a thread has in hand all the same may then come twice, as any message may: who
    claims it first runs it.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def stop(self, c: Any) -> None:
        """Called before the worker waits for its pool."""
        if c.blueprint.state != CLOSED:  # it only connects again
            return
        try:
            c.task_consumer.cancel()
            channel = c.task_consumer.channel
            if channel._in_poll:  # noqa: SLF001  what `Channel.close` does; it is too early for that
                with suppress(Empty):
                    channel._brpop_read()  # noqa: SLF001
            channel.qos._flush()  # noqa: SLF001  what has gone back may be another worker's by now
            channel.qos.restore_unacked()
        except Exception as error:  # noqa: BLE001  without Redis; what is lost with it is sent again
            logger.info("What was read from Redis could not be given back: %s", error)


app.steps["consumer"].add(LastMessages)
# Sent in a signal handler, which a second signal may interrupt: its own lock would wait for itself.
worker_shutting_down.lock = threading.RLock()  # type: ignore[attr-defined]  # nor this


@setup_logging.connect
def keep_django_logging(**_: Any) -> None:
    """Celery would install its own handlers; Django's settings already did."""


@celeryd_after_setup.connect
def begin_with_all_tables(**_: Any) -> None:
    """A worker has no pool yet, and its connection must not reach the children of one."""
    try:
        migrated.wait()
    except Exception:
        logger.exception("A worker cannot look at its tables and ends")
        raise SystemExit(1) from None  # anything else is swallowed by the signal
    connection.close()


@beat_init.connect
@worker_ready.connect
@worker_process_init.connect
def leave_the_libraries_alone(**_: Any) -> None:
    """Take all that was imported out of the garbage collector's rounds: it is a third of the work.

    A slice makes thousands of objects and no cycles, and each would have it look at everything.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER, 20, 50)
