"""Where people are told what is wrong with executions: channels, whose URLs are kept encrypted.

An Apprise URL names hosts that no door looks at, so only operators have channels. The URL goes in
and never comes out again: answers, audit and errors show its scheme.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from errors_app.alerting import apprise_door
from errors_app.alerting.definitions import Invalid, parse_channel
from errors_app.alerting.rules import Unknown
from errors_app.models_alerts import AlertChannel, AlertRule
from executions_app import audit, clock, encryption
from executions_app.audit import Actor

LOG = "log"


def create(words: Mapping[str, Any], *, actor: Actor) -> AlertChannel:
    """Store a new channel; rules that name none tell it, too. Raises Invalid, NoKeys."""
    parsed = parse_channel(words)
    row = AlertChannel(
        name=parsed.name, enabled=parsed.enabled, min_severity=parsed.min_severity.value
    )
    _point(row, parsed.url)
    with transaction.atomic():
        _save(row)
        _record("created", row, actor, after=shown(row))
    return row


def change(channel_id: UUID, words: Mapping[str, Any], *, actor: Actor) -> AlertChannel:
    """Change what these words name; without `url` it stays. Raises Unknown, Invalid, NoKeys."""
    with transaction.atomic():
        row = _locked(channel_id)
        before = shown(row)
        kept = {name: before[name] for name in ("name", "enabled", "min_severity")}
        parsed = parse_channel({**kept, "url": LOG, **words})
        if parsed.name != row.name:
            _check_unnamed(row.name)
        if "url" in words:
            _point(row, parsed.url)
        row.name, row.enabled = parsed.name, parsed.enabled
        row.min_severity = parsed.min_severity.value
        row.version, row.updated_at = row.version + 1, clock.now()
        _save(row)
        _record("updated", row, actor, before=before, after=shown(row))
    return row


def remove(channel_id: UUID, *, actor: Actor) -> None:
    """Tell it no more; what it was still to be told fails. Raises Unknown, and Invalid while a
    rule names it.
    """
    with transaction.atomic():
        row = _locked(channel_id)
        _check_unnamed(row.name)
        _record("deleted", row, actor, before=shown(row))
        row.delete()


def shown(row: AlertChannel) -> dict[str, Any]:
    """What may be known of a channel."""
    return {
        "name": row.name,
        "kind": row.kind,
        "enabled": row.enabled,
        "min_severity": row.min_severity,
    }


def address(row: AlertChannel) -> str:
    """Where the channel leads; raises Undecryptable, NoKeys."""
    return LOG if row.kind == LOG else encryption.decrypt(row.ciphertext)


def renew_all() -> int:
    """Encrypt every URL anew, by the first key of the ring; answers how many there are.

    Raises Undecryptable, and then has changed nothing.
    """
    with transaction.atomic():
        secret = AlertChannel.objects.exclude(kind=LOG)
        rows = list(secret.select_for_update().order_by("id"))
        for one in rows:
            one.ciphertext = encryption.renewed(one.ciphertext)
        AlertChannel.objects.bulk_update(rows, ["ciphertext"], batch_size=500)
    return len(rows)


def _point(row: AlertChannel, url: str) -> None:
    """Set where it leads, if that can be read."""
    if url == LOG:
        row.kind, row.ciphertext = LOG, ""
        return
    kind = apprise_door.scheme(url)
    if kind is None:
        detail = "this is no URL that Apprise knows; see the guide for some that it does"
        raise Invalid.field("url", detail)
    row.kind, row.ciphertext = kind, encryption.encrypt(url)


def _check_unnamed(name: str) -> None:
    """A rule that names a channel which is not there would tell nobody."""
    rule = AlertRule.objects.filter(channels__contains=[name]).order_by("name").first()
    if rule is not None:
        message = f"the rule {rule.name!r} names this channel; change that first"
        raise Invalid.field("name", message, code="in_use")


def _locked(channel_id: UUID) -> AlertChannel:
    row = AlertChannel.objects.select_for_update().filter(id=channel_id).first()
    if row is None:
        raise Unknown("This channel is not there any more")
    return row


def _save(row: AlertChannel) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Invalid.field("name", "another channel has this name", code="unique") from None


def _record(what: str, row: AlertChannel, actor: Actor, **words: Any) -> None:
    audit.record(
        actor,
        f"alert_channel.{what}",
        object_type="alert_channel",
        object_id=row.id,
        now=clock.now(),
        **words,
    )
