"""`manage.py schedule rotate-secret|deliveries`: the secret of a webhook, and what came by it."""

from __future__ import annotations

from datetime import timedelta

from django.urls import reverse

from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    acting_user,
    actor,
    add_acting_user,
    row_count,
    table,
)
from executions_app.wording import iso
from scheduler_app.commands import invalid, schedule_named
from scheduler_app.definition import Problem
from scheduler_app.foresight import shapes as foresight_shapes
from scheduler_app.models import WebhookDelivery
from scheduler_app.sources import webhook_secrets

MOST_HOURS = webhook_secrets.LONGEST_OVERLAP / timedelta(hours=1)


def add_to(verbs: Verbs) -> None:
    """Add the verbs to those of `manage.py schedule`."""
    rotating = verbs.add(
        "rotate-secret", rotate, help_text="make a new secret for a webhook; it is shown this once"
    )
    rotating.add_argument("schedule", metavar="NAME|ID")
    rotating.add_argument(
        "--overlap-hours",
        type=float,
        default=0.0,
        metavar="N",
        help="how long the secret of before goes on being accepted (default: not at all)",
    )
    add_acting_user(rotating)
    listing = verbs.add(
        "deliveries", deliveries, help_text="what its webhook has taken, the newest first"
    )
    listing.add_argument("schedule", metavar="NAME|ID")
    listing.add_argument("--limit", type=row_count, default=50)
    add_acting_user(listing)


def rotate(options: Options) -> Answer:
    if not 0 <= options["overlap_hours"] <= MOST_HOURS:
        message = f"must be between 0 and {MOST_HOURS:g}"
        raise invalid([Problem(("overlap_hours",), "invalid", message)])
    schedule = schedule_named(options["schedule"], user=acting_user(options))
    overlap = timedelta(hours=options["overlap_hours"])
    secret = webhook_secrets.rotate(schedule.id, actor=actor(options), overlap=overlap)
    url = reverse("api:webhook", args=[schedule.id])
    return Answer({"secret": secret, "url": url}, f"{secret}\nDeliveries go to {url}")


def deliveries(options: Options) -> Answer:
    schedule = schedule_named(options["schedule"], user=acting_user(options))
    taken = WebhookDelivery.objects.filter(schedule_id=schedule.id).order_by("-id")
    found = list(taken[: options["limit"]])
    rows = (
        (iso(one.received_at), one.delivery_id, one.reason or "started", one.execution_id)
        for one in found
    )
    shown = table("RECEIVED", "DELIVERY", "CAME TO", "EXECUTION", rows=rows)
    return Answer([foresight_shapes.delivery(one) for one in found], shown)
