"""A signed delivery from outside becomes an execution of its schedule, once per delivery.

The row of the delivery is written in the transaction that makes the execution, under the lock of
the schedule: a repeat, at the same time or a week later, finds it and gets the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from config.env import env
from executions_app import clock
from executions_app.database_errors import despite_deadlocks
from executions_app.states import SchedulerException, Trigger
from scheduler_app import dispatcher
from scheduler_app.limiting.key_templates import MissingValue
from scheduler_app.models import Schedule, WebhookDelivery
from scheduler_app.sources import (
    filters,
    payloads,
    records,
    signatures,
    starting,
    webhook_secrets,
)
from scheduler_app.sources.config import WebhookConfig, parse_trigger_config
from scheduler_app.sources.starting import Cause, Closed

NOT_MATCHED: Final = "not_matched"
NEXT_STEPS: Final = {
    Closed.DISABLED: "its schedule is disabled or has made all its runs; enable it, then",
    Closed.PAUSED: "its schedule is paused; resume it or wait for the end of the pause, then",
    Closed.NOT_YET: "its schedule has not begun; wait for its start_at or set an earlier one, then",
    Closed.OVER: "its schedule has ended; set a later end_at or none, then",
}
NOBODY: Final = "whsec_" + "A" * 43 + "="  # unknown webhooks are refused after the same work
# A bucket that fills evenly and holds a minute's worth; no row comes back when it is empty.
DEBIT: Final = """
INSERT INTO rate_buckets AS b (key, tokens, refreshed_at)
VALUES (%(key)s, %(most)s::float8 - 1, now())
ON CONFLICT (key) DO UPDATE SET refreshed_at = now(), tokens = least(
    %(most)s, b.tokens + extract(epoch FROM now() - b.refreshed_at) * %(most)s / 60) - 1
WHERE least(
    %(most)s, b.tokens + extract(epoch FROM now() - b.refreshed_at) * %(most)s / 60) >= 1
RETURNING b.tokens
"""


class TooMany(SchedulerException):
    """The webhook has taken all it takes for now; `wait` is in seconds."""

    def __init__(self) -> None:
        most = env.webhook_max_per_minute
        super().__init__(f"This webhook takes {most} deliveries a minute; send it again later")
        self.wait = ceil(60 / most)


class NotAccepting(SchedulerException):
    """The schedule takes nothing now; the delivery was not recorded and may be sent again."""

    def __init__(self, reason: Closed) -> None:
        step = NEXT_STEPS[reason]
        super().__init__(f"This webhook takes nothing now: {step} send the delivery again")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery; without an execution, `reason` says why."""

    execution_id: UUID | None
    reason: str = ""

    @property
    def is_matched(self) -> bool:
        return self.reason != NOT_MATCHED


def receive(trigger_id: UUID | None, headers: Mapping[str, str], body: bytes) -> Receipt:
    """Take one delivery; names of headers are in lower case.

    Raises Unproven (for an unknown webhook too), TooMany, UnusablePayload, NotAccepting.
    """
    now = clock.now()
    known = [] if trigger_id is None else webhook_secrets.of(trigger_id, now=now)
    delivery_id = signatures.verify(headers, body, secrets=known or [NOBODY], now=now)
    if trigger_id is None or not known:
        raise signatures.Unproven
    _debit(trigger_id)
    take = partial(_take, trigger_id, delivery_id, payloads.parse(body))
    receipt, is_new = despite_deadlocks(take)
    if is_new and receipt.execution_id is not None:
        dispatcher.release_due_if_running([receipt.execution_id])
    return receipt


def _debit(trigger_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            DEBIT, {"key": f"webhook:{trigger_id}", "most": float(env.webhook_max_per_minute)}
        )
        if cursor.fetchone() is None:
            raise TooMany


def _take(
    trigger_id: UUID, delivery_id: str | None, event: Mapping[str, Any]
) -> tuple[Receipt, bool]:
    """The receipt, and whether it is the first for this delivery."""
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update().filter(id=trigger_id).first()
        if schedule is None:
            raise signatures.Unproven
        if delivery_id is not None and (earlier := _earlier(trigger_id, delivery_id)):
            return earlier, False
        receipt = _answer(schedule, delivery_id, event, now=clock.now())
        if delivery_id is not None:
            WebhookDelivery.objects.create(
                schedule_id=trigger_id,
                delivery_id=delivery_id,
                execution_id=receipt.execution_id,
                reason=receipt.reason,
            )
    return receipt, True


def _earlier(trigger_id: UUID, delivery_id: str) -> Receipt | None:
    taken = WebhookDelivery.objects.filter(schedule_id=trigger_id, delivery_id=delivery_id)
    row = taken.values_list("execution_id", "reason").first()
    return None if row is None else Receipt(*row)


def _answer(
    schedule: Schedule, delivery_id: str | None, event: Mapping[str, Any], *, now: datetime
) -> Receipt:
    config = parse_trigger_config(schedule.trigger_type, schedule.trigger_config)
    if not isinstance(config, WebhookConfig):
        raise signatures.Unproven
    if not filters.matches(config.filter, event):
        return Receipt(None, NOT_MATCHED)
    if reason := starting.closed(schedule, at=now):
        raise NotAccepting(reason)
    cause = Cause(Trigger.EVENT, {"event": payloads.kept(event)})
    try:
        started = starting.start(schedule, cause, now=now)
    except MissingValue as error:
        raise payloads.UnusablePayload(str(error)) from None
    came = f"delivery:{delivery_id or ''}"
    records.write_if_skipped(schedule.id, started, nominal_at=now, cause=came, now=now)
    return Receipt(started.execution_id, "" if started.execution_id else started.reason.value)
