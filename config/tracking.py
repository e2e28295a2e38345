"""Beside every failed attempt: Sentry hears of it, where `SENTRY_DSN` is set.

Events wait in a queue of a hundred and leave in a thread of the library; what finds it full is
dropped. What is sent names the execution and shows the stack, never what the execution was given.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import sentry_sdk
import structlog
from celery.signals import worker_process_init
from django.conf import settings
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger
from sentry_sdk.utils import event_from_exception

from config import unspoken
from config.env import Env, env
from errors_app import trackers
from errors_app.trackers import Recorded
from executions_app.database_errors import is_away
from executions_app.states import RecoveryStatus

MOST_WAITING: Final = 100
AT_EXIT_SECONDS: Final = 2
INPUTS: Final = "cadenza_inputs"  # in the hint of an event
OURS: Final = ["scheduler_app", "agents_app", "errors_app", "executions_app", "config"]
# Each tells of an exception that reaches the tracker by itself.
ECHOES: Final = ("django_structlog.middlewares.request", "django_structlog.celery.receivers")


class Sentry:
    """Tells Sentry of each error record, after its commit."""

    def tell(self, recorded: Recorded) -> None:
        client = sentry_sdk.get_client()
        if client.transport is None or not client.transport.is_healthy():
            return  # its queue is full, or it asked to be left alone
        event, _ = event_from_exception(
            recorded.error,
            client_options=client.options,
            mechanism={"type": "cadenza", "handled": True},
        )
        event |= _words(recorded)
        held = recorded.held
        inputs = unspoken.values([held.snapshot.get("task_config"), held.parameters])
        # Without `exc_info`: to be recorded twice is to be told twice, if it were the same object.
        sentry_sdk.capture_event(event, hint={INPUTS: inputs})

    def flush(self, *, seconds: float) -> None:
        sentry_sdk.flush(timeout=seconds)


def _words(recorded: Recorded) -> Any:
    record, held = recorded.record, recorded.held
    return {
        "level": "error" if record.recovery_status == RecoveryStatus.ESCALATED else "warning",
        "fingerprint": [str(record.schedule_id), record.fingerprint],
        "tags": {
            "execution_id": str(held.id),
            "execution_number": held.number,
            "schedule_id": str(held.schedule_id or ""),
            "schedule": held.snapshot.get("name", ""),
            "correlation_id": held.correlation_id,
            "task_type": held.snapshot.get("task_type", ""),
            "error_class": record.error_class,
            "error_record_id": str(record.id),
            "recovery_status": record.recovery_status,
        },
        "contexts": {
            "attempt": {
                "number": held.attempt,
                "of": held.max_attempts,
                "worker": held.worker_id,
                "began": held.started_at,
            }
        },
    }


def begin(env: Env) -> None:
    """Connect Sentry; from now on it hears what goes wrong in this process."""
    for name in ECHOES:
        ignore_logger(name)
    # It looks at every statement to the database: only requests need it.
    requests = [DjangoIntegration(middleware_spans=False, signals_spans=False, cache_spans=False)]
    sentry_sdk.init(
        dsn=env.sentry_dsn,
        sample_rate=env.sentry_sample_rate,
        environment=env.django_env,
        release=f"cadenza@{settings.SPECTACULAR_SETTINGS['VERSION']}",
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            *(requests if env.cadenza_role == "web" else ()),
            CeleryIntegration(propagate_traces=False),
            LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda _pending, _seconds: None),
        ],
        in_app_include=OURS,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        send_client_reports=False,
        transport_queue_size=MOST_WAITING,
        shutdown_timeout=AT_EXIT_SECONDS,
        before_send=before_send,
    )
    trackers.connect(Sentry())


@worker_process_init.connect
def begin_anew(**_: Any) -> None:
    """A child of a prefork pool: the thread of its worker's queue has stayed behind."""
    begin(env)


def before_send(event: Any, hint: dict[str, Any]) -> Any:
    """What is sent of an event; None for what happens to each request while PostgreSQL is away."""
    error = hint.get("exc_info", (None, None, None))[1]
    if error is not None and is_away(error):
        return None
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id:
        event.setdefault("tags", {}).setdefault("correlation_id", request_id)
    return unspoken.left_out(event, given=hint.get(INPUTS, frozenset()))
