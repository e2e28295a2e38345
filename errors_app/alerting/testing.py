"""A test of a channel, sent while the one who asked waits; what arrives is told of no execution."""

from __future__ import annotations

import random

from errors_app.alerting import notices, sending
from errors_app.models_alerts import AlertChannel, AlertDelivery
from executions_app import audit, clock
from executions_app.audit import Actor


def send_test(channel: AlertChannel, *, actor: Actor) -> AlertDelivery:
    """Send a test and answer its record, which says whether it arrived; it is not tried again."""
    claimed = notices.begin_test(
        channel.id, name=channel.name, kind=channel.kind, ciphertext=channel.ciphertext
    )
    letter = sending.written([claimed])[0]
    sending.record(sending.Result(letter, sending.carry(letter)), rng=random.SystemRandom())
    delivery = AlertDelivery.objects.get(id=claimed.id)
    audit.record(
        actor,
        "alert_channel.tested",
        object_type="alert_channel",
        object_id=channel.id,
        now=clock.now(),
        after={"status": delivery.status, "error": delivery.error},
    )
    return delivery
