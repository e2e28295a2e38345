"""From what a look at executions found to alerts: raised once, counted, resolved when it is over.

One transaction per rule and round holds the alerts' changes, their events and the notices to be
sent. The rule's row is locked first, so two rounds at once take turns; in the database an alert of
a rule and key is open once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from errors_app.alerting import notices
from errors_app.alerting.findings import Finding, ask
from errors_app.alerting.rules import Unknown
from errors_app.models_alerts import Alert, AlertRule
from executions_app import audit, clock, events
from executions_app.audit import Actor
from executions_app.events import NewEvent
from executions_app.scrub import storable_text

QUIET_ROUNDS: Final = 2
"""Rounds in a row that do not find it, before it is taken for over."""

MOST_NEW: Final = 100
"""Alerts that one round of a rule raises; the next one raises more."""

MOST_FIRING: Final = 1_000
"""Alerts of one rule that fire at once."""

OTHERS: Final = "others"
"""The key of the alert about those that were not raised."""

RAISE: Final = """
INSERT INTO alerts (id, rule_id, rule_name, kind, key, severity, status, message, details,
    schedule_id, owner_id, count, quiet_rounds, first_seen_at, last_seen_at, muted_until,
    created_at)
SELECT cadenza_uuid7(), %(rule_id)s, %(rule_name)s, %(kind)s, f.key, %(severity)s, 'firing',
    f.message, f.details::jsonb, f.schedule_id, f.owner_id, 1, 0, now(), now(),
    (SELECT max(a.muted_until) FROM alerts a
     WHERE a.rule_id = %(rule_id)s AND a.key = f.key AND a.muted_until > now()), now()
FROM unnest(%(keys)s::text[], %(messages)s::text[], %(details)s::text[],
            %(schedules)s::uuid[], %(owners)s::int[])
    AS f(key, message, details, schedule_id, owner_id)
ORDER BY f.key
ON CONFLICT (rule_id, key) WHERE status = 'firing' DO UPDATE SET
    last_seen_at = now(), count = alerts.count + 1, quiet_rounds = 0,
    message = excluded.message, details = excluded.details, severity = excluded.severity
RETURNING id, count = 1,
    notified_at IS NULL AND coalesce(muted_until <= now(), true)
"""
QUIET: Final = """
WITH over AS (
    SELECT id FROM alerts WHERE rule_id = %(rule_id)s AND status = 'firing'
        AND key = ANY(%(keys)s) ORDER BY id FOR UPDATE
)
UPDATE alerts a SET quiet_rounds = quiet_rounds + 1,
    status = CASE WHEN quiet_rounds + 1 >= %(rounds)s THEN 'resolved' ELSE status END,
    resolved_at = CASE WHEN quiet_rounds + 1 >= %(rounds)s THEN now() END
FROM over WHERE a.id = over.id
RETURNING a.id, a.status = 'resolved', coalesce(a.muted_until <= now(), true)
"""
LET_GO: Final = """
WITH over AS (
    SELECT id FROM alerts WHERE rule_id = %(rule_id)s AND status = 'firing'
        AND key = ANY(%(keys)s) ORDER BY id FOR UPDATE
)
UPDATE alerts a SET status = 'resolved', resolved_at = now() FROM over WHERE a.id = over.id
RETURNING a.id
"""
UNWATCHED: Final = """
UPDATE alerts a SET status = 'resolved', resolved_at = now()
WHERE status = 'firing' AND NOT EXISTS (
    SELECT FROM alert_rules r WHERE r.id = a.rule_id AND r.enabled
)
RETURNING id
"""


def firing_keys(rule: AlertRule) -> list[str]:
    """What the alerts of this rule that fire are about."""
    firing = Alert.objects.filter(rule_id=rule.id, status="firing")
    return list(firing.order_by("key").values_list("key", flat=True))


def settle(
    rule: AlertRule, findings: Sequence[Finding], *, asked_about: Sequence[str] | None = None
) -> None:
    """Write down what one look of a rule found; nothing if the rule went or was disabled.

    `asked_about`: the keys of alerts that the look knew of; the others it may have left out, and
    nobody knows whether they are over. None: it left out none.
    """
    with transaction.atomic():
        now = clock.now()
        locked = AlertRule.objects.select_for_update().filter(id=rule.id, enabled=True).first()
        if locked is None:
            return
        may_tell = locked.muted_until is None or locked.muted_until <= now
        firing = set(firing_keys(locked))
        wanted = _as_many_as_can_be(findings, firing)
        fresh = _raise(locked, wanted, may_tell=may_tell)
        found = {one.key for one in wanted}
        over = _let_go(locked, findings)
        known = firing if asked_about is None else firing.intersection(asked_about)
        over += _quieten(locked, sorted(known - found), may_tell=may_tell)
        _emit("alert:fired", fresh)
        _emit("alert:resolved", over)
    if fresh or over:
        events.announce()


def end_unwatched() -> None:
    """Alerts whose rule was removed or disabled are over; nobody is told."""
    with transaction.atomic():
        over = [row[0] for row in ask(UNWATCHED, {})]
        _emit("alert:resolved", over)
    if over:
        events.announce()


def mute(alert_id: UUID, *, until: datetime | None, actor: Actor) -> Alert:
    """Tell nobody about this alert, and about the same again, until then; None ends that."""
    with transaction.atomic():
        now = clock.now()
        alert = Alert.objects.select_for_update().filter(id=alert_id).first()
        if alert is None:
            raise Unknown("This alert is not there any more")
        before, alert.muted_until = alert.muted_until, until
        alert.save(update_fields=["muted_until"])
        audit.record(
            actor,
            "alert.muted",
            object_type="alert",
            object_id=alert.id,
            now=now,
            before={"muted_until": before},
            after={"muted_until": until},
        )
    return alert


def _raise(rule: AlertRule, findings: Sequence[Finding], *, may_tell: bool) -> list[UUID]:
    """Raise or renew these; answers the ids of the new ones."""
    by_key = {one.key: one for one in findings}  # a statement cannot meet a row twice
    if not by_key:
        return []
    rows = ask(
        RAISE,
        {
            **_words(rule),
            "keys": list(by_key),
            "messages": [storable_text(one.message) for one in by_key.values()],
            "details": [storable_text(json.dumps(one.details)) for one in by_key.values()],
            "schedules": [one.schedule_id for one in by_key.values()],
            "owners": [one.owner_id for one in by_key.values()],
        },
    )
    if may_tell:
        notices.tell_fired(rule, [id_ for id_, _, is_untold in rows if is_untold])
    return [id_ for id_, is_new, _ in rows if is_new]


def _as_many_as_can_be(findings: Sequence[Finding], firing: Collection[str]) -> list[Finding]:
    """What fires already, some of what is new, and how many are left out."""
    open_ = [one for one in findings if not one.is_let_go]
    known = [one for one in open_ if one.key in firing]
    new = [one for one in open_ if one.key not in firing]
    room = max(0, min(MOST_NEW, MOST_FIRING - len(firing)))
    left_out = len(new) - room
    if left_out <= 0:
        return known + new
    message = f"There are at least {left_out} more than can be told at once; the first: "
    others = Finding(
        key=OTHERS, message=message + new[room].message, details={"at_least": left_out}
    )
    return [*known, *new[:room], others]


def _let_go(rule: AlertRule, findings: Sequence[Finding]) -> list[UUID]:
    """End, untold, what people want to hear no more of; answers the ids."""
    keys = [one.key for one in findings if one.is_let_go]
    return [id_ for (id_,) in ask(LET_GO, {"rule_id": rule.id, "keys": keys})] if keys else []


def _quieten(rule: AlertRule, keys: Sequence[str], *, may_tell: bool) -> list[UUID]:
    """Count a quiet round for these; answers the ids of those that are over."""
    if not keys:
        return []
    rows = ask(QUIET, {"rule_id": rule.id, "keys": list(keys), "rounds": QUIET_ROUNDS})
    if may_tell:
        notices.tell_resolved([id_ for id_, is_over, may in rows if is_over and may])
    return [id_ for id_, is_over, _ in rows if is_over]


def _words(rule: AlertRule) -> dict[str, Any]:
    return {
        "rule_id": rule.id,
        "rule_name": rule.name,
        "kind": rule.kind,
        "severity": rule.severity,
    }


def _emit(type_: str, ids: Sequence[UUID]) -> None:
    if ids:
        events.emit([_event(type_, one) for one in Alert.objects.filter(id__in=ids).order_by("id")])


def _event(type_: str, alert: Alert) -> NewEvent:
    return NewEvent(
        type=type_,
        topic=f"alert:{alert.id}",
        owner_id=alert.owner_id,
        schedule_id=alert.schedule_id,
        severity=alert.severity,
        data={
            "rule": alert.rule_name,
            "kind": alert.kind,
            "key": alert.key,
            "message": alert.message,
            "count": alert.count,
        },
    )
