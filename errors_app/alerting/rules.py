"""What is looked for in executions: people create, change, mute and remove rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction

from errors_app.alerting.definitions import Invalid, RuleDefinition, parse_rule
from errors_app.models_alerts import AlertChannel, AlertRule
from executions_app import audit, clock
from executions_app.audit import Actor
from executions_app.states import SchedulerException


class Unknown(SchedulerException):
    """There is no such rule, alert or channel any more."""


def create(words: Mapping[str, Any], *, actor: Actor) -> AlertRule:
    """Store a new rule; the next round looks for it. Raises Invalid."""
    rule = parse_rule(words)
    with transaction.atomic():
        _check_references(rule)
        row = AlertRule(**rule.model_dump(mode="json"))
        _save(row)
        _record("created", row, actor, after=stored(row))
    return row


def change(
    rule_id: UUID,
    words: Mapping[str, Any],
    *,
    actor: Actor,
    parameters: Mapping[str, Any] | None = None,
) -> AlertRule:
    """Change what these words name and keep the rest; raises Unknown, Invalid.

    `parameters` beside the words change those that they name alone.
    """
    with transaction.atomic():
        row = _locked(rule_id)
        before = stored(row)
        is_of_another_kind = words.get("kind", row.kind) != row.kind
        own = {} if is_of_another_kind else row.parameters
        kept = {**before, "parameters": {**own, **(parameters or {})}}
        rule = parse_rule({**kept, **words})
        _check_references(rule)
        after = rule.model_dump(mode="json")
        changed = {name: value for name, value in after.items() if before[name] != value}
        if changed:
            for name, value in changed.items():
                setattr(row, name, value)
            row.version, row.updated_at, row.problem = row.version + 1, clock.now(), ""
            _save(row)
            _record("updated", row, actor, before=before, after=changed)
    return row


def remove(rule_id: UUID, *, actor: Actor) -> None:
    """Look for it no more; its open alerts end with the next round. Raises Unknown."""
    with transaction.atomic():
        row = _locked(rule_id)
        _record("deleted", row, actor, before=stored(row))
        row.delete()


def mute(rule_id: UUID, *, until: datetime | None, actor: Actor) -> AlertRule:
    """Tell nobody until then; None ends that. Raises Unknown."""
    with transaction.atomic():
        row = _locked(rule_id)
        row.muted_until, row.updated_at = until, clock.now()
        row.save(update_fields=["muted_until", "updated_at"])
        _record("muted", row, actor, after={"muted_until": until})
    return row


def stored(row: AlertRule) -> dict[str, Any]:
    """The words that a rule has now."""
    words = {name: getattr(row, name) for name in RuleDefinition.model_fields}
    words["schedule_id"] = None if row.schedule_id is None else str(row.schedule_id)
    return words


def schedules_named(name: str) -> list[UUID]:
    """The schedules of that name: names are unique for each owner only."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM task_schedules WHERE name = %s ORDER BY id", [name])
        return [row[0] for row in cursor.fetchall()]


def schedule_names(ids: Collection[UUID]) -> dict[UUID, str]:
    """The names of those of these schedules that are still there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, name FROM task_schedules WHERE id = ANY(%s)", [list(ids)])
        return dict(cursor.fetchall())


def _locked(rule_id: UUID) -> AlertRule:
    row = AlertRule.objects.select_for_update().filter(id=rule_id).first()
    if row is None:
        raise Unknown("This rule is not there any more")
    return row


def _save(row: AlertRule) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Invalid.field("name", "another rule has this name", code="unique") from None


def _check_references(rule: RuleDefinition) -> None:
    known = set(AlertChannel.objects.filter(name__in=rule.channels).values_list("name", flat=True))
    if missing := [name for name in rule.channels if name not in known]:
        raise Invalid.field("channels", f"there is no channel {missing[0]!r}", code="unknown")
    if rule.schedule_id is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM task_schedules WHERE id = %s)", [rule.schedule_id]
        )
        if not cursor.fetchone()[0]:
            raise Invalid.field("schedule_id", "there is no such schedule", code="unknown")


def _record(what: str, row: AlertRule, actor: Actor, **words: Any) -> None:
    audit.record(
        actor,
        f"alert_rule.{what}",
        object_type="alert_rule",
        object_id=row.id,
        now=clock.now(),
        **words,
    )
