"""The secrets that sign what starts executions by webhook: shown once, then kept encrypted."""

from __future__ import annotations

import base64
import logging
import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from executions_app import audit, clock, encryption
from executions_app.audit import Actor
from executions_app.states import SchedulerException
from scheduler_app.models import Schedule, WebhookSecret
from scheduler_app.sources.config import WebhookConfig, parse_trigger_config

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
LONGEST_OVERLAP: Final = timedelta(days=7)

logger = logging.getLogger(__name__)


class NoWebhook(SchedulerException):
    """The schedule is not started by a webhook."""


def rotate(schedule_id: UUID, *, actor: Actor, overlap: timedelta = timedelta(0)) -> str:
    """Make a new secret and answer it: it cannot be read again. The first call makes the first.

    What was in force goes on being accepted for `overlap`, by default not at all. Raises NoWebhook.
    """
    secret = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    with transaction.atomic():
        now = clock.now()
        schedule = Schedule.objects.select_for_update().get(id=schedule_id)
        if not is_webhook(schedule):
            raise NoWebhook(
                f"Schedule {schedule.name!r} is not started by a webhook; give it trigger_type "
                "event_driven and the source webhook"
            )
        _retire(schedule_id, now=now, overlap=overlap)
        WebhookSecret.objects.create(
            schedule_id=schedule_id, ciphertext=encryption.encrypt(secret), created_at=now
        )
        audit.record(
            actor,
            "schedule.webhook_secret_made",
            object_type="schedule",
            object_id=schedule_id,
            now=now,
            after={"overlap_ms": int(overlap.total_seconds() * 1000)},
        )
    return secret


def of(schedule_id: UUID, *, now: datetime) -> list[str]:
    """The secrets that are accepted now, the newest first; none if there is no such webhook."""
    good = WebhookSecret.objects.filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=now), schedule_id=schedule_id
    )
    readable: list[str] = []
    for stored in good.order_by("-created_at").values_list("ciphertext", flat=True):
        try:
            readable.append(encryption.decrypt(stored))
        except (encryption.Undecryptable, encryption.NoKeys) as error:
            logger.error("A secret of webhook %s cannot be read: %s", schedule_id, error)  # noqa: TRY400  the message says it all
    return readable


def renew_all() -> int:
    """Encrypt every secret anew, by the first key of the ring; answers how many there are.

    Raises Undecryptable, and then has changed nothing.
    """
    with transaction.atomic():
        rows = list(WebhookSecret.objects.select_for_update().order_by("id"))
        for one in rows:
            one.ciphertext = encryption.renewed(one.ciphertext)
        WebhookSecret.objects.bulk_update(rows, ["ciphertext"], batch_size=500)
    return len(rows)


def is_webhook(schedule: Schedule) -> bool:
    """True if webhooks start this schedule."""
    parsed = parse_trigger_config(schedule.trigger_type, schedule.trigger_config)
    return isinstance(parsed, WebhookConfig)


def _retire(schedule_id: UUID, *, now: datetime, overlap: timedelta) -> None:
    WebhookSecret.objects.filter(schedule_id=schedule_id, expires_at__lte=now).delete()
    in_force = WebhookSecret.objects.filter(schedule_id=schedule_id, expires_at__isnull=True)
    if overlap:
        in_force.update(expires_at=now + overlap)
    else:
        WebhookSecret.objects.filter(schedule_id=schedule_id).delete()
