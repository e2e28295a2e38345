"""How much at most: set, change and remove limits; `holds` obeys them from its next round on.

Limits are everybody's, so only administrators change them. A limit of a schedule is no row here:
it is the schedule's own `max_concurrent`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db import transaction
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from executions_app import audit, clock, ids
from executions_app.audit import Actor
from executions_app.states import Priority, SchedulerException
from scheduler_app.definition import InvalidDefinition, problems_of
from scheduler_app.limiting import limits_in_force
from scheduler_app.models import Limit
from scheduler_app.permissions import OperatorNeeded

DAY_MS: Final = 86_400_000
KEY: Final = re.compile(
    rf"system|queue:({'|'.join(Priority)})|(task|agent):[^\x00-\x1f*]+|key:[^\x00-\x1f*]*\*?"
)
KEY_HELP: Final = (
    "one of system, queue:low, task:http_request, agent:NAME, key:tenant:acme, and key:tenant:* "
    "for each tenant alone"
)


class Unknown(SchedulerException):
    """There is no such limit."""


def _key(text: str) -> str:
    if not KEY.fullmatch(text) or text == "key:":
        raise ValueError(f"write {KEY_HELP}")
    return text


class LimitDefinition(BaseModel):
    """What an administrator says about one key: so many at once, so many starts per time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[str, Field(max_length=300), AfterValidator(_key)]
    max_concurrent: int | None = Field(None, ge=0, le=1_000_000)
    rate_count: int | None = Field(None, ge=1, le=10_000_000)
    rate_period_ms: int | None = Field(None, ge=100, le=31 * DAY_MS)
    note: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _says_something_whole(self) -> LimitDefinition:
        if (self.rate_count is None) != (self.rate_period_ms is None):
            raise ValueError("a rate is rate_count starts in rate_period_ms; give both or none")
        if self.max_concurrent is None and self.rate_count is None:
            raise ValueError("give max_concurrent, a rate, or both")
        return self


def parse(data: Mapping[str, Any]) -> LimitDefinition:
    """Check the words of a limit; raises InvalidDefinition with every problem."""
    try:
        return LimitDefinition.model_validate(dict(data))
    except ValidationError as error:
        found = problems_of(error)
        raise InvalidDefinition(
            replace(one, path=one.path or ("max_concurrent",)) for one in found
        ) from None


def check_admin(user: AbstractUser) -> None:
    """Raise OperatorNeeded unless `user` is an administrator."""
    if not user.is_superuser:
        raise OperatorNeeded("Only administrators may change limits; ask one")


def put(definition: LimitDefinition, *, actor: Actor) -> tuple[Limit, bool]:
    """Set the limit of its key, new or not; answers it, and whether it is new."""
    with transaction.atomic():
        now = clock.now()
        words = definition.model_dump()
        fresh = Limit(id=ids.new(now), **words, created_at=now, updated_at=now)
        Limit.objects.bulk_create([fresh], ignore_conflicts=True)
        limit = Limit.objects.select_for_update().get(key=definition.key)
        is_new = limit.id == fresh.id
        before = {} if is_new else stored(limit)
        changed = {name: value for name, value in words.items() if before.get(name) != value}
        if not is_new and changed:
            for name, value in changed.items():
                setattr(limit, name, value)
            limit.version, limit.updated_at = limit.version + 1, now
            limit.save()
        if is_new or changed:
            _record(
                "created" if is_new else "updated",
                limit,
                actor,
                before={name: before[name] for name in changed} if before else None,
                after=changed,
            )
        transaction.on_commit(limits_in_force.forget)
    return limit, is_new


def change(limit_id: UUID, words: Mapping[str, Any], *, actor: Actor) -> Limit:
    """Change what these words name and keep the rest; raises Unknown, InvalidDefinition."""
    with transaction.atomic():
        limit = Limit.objects.select_for_update().filter(id=limit_id).first()
        if limit is None:
            raise Unknown("This limit has been lifted meanwhile")
        changed, _ = put(parse({**stored(limit), **words}), actor=actor)
    return changed


def remove(key: str, *, actor: Actor) -> None:
    """Lift the limit of a key; raises Unknown."""
    with transaction.atomic():
        limit = Limit.objects.select_for_update().filter(key=key).first()
        if limit is None:
            raise Unknown(f"There is no limit {key!r}")
        _record("deleted", limit, actor, before=stored(limit))
        limit.delete()
        transaction.on_commit(limits_in_force.forget)


def stored(limit: Limit) -> dict[str, Any]:
    """The words that a limit has now."""
    return {name: getattr(limit, name) for name in LimitDefinition.model_fields}


def _record(what: str, limit: Limit, actor: Actor, **words: Any) -> None:
    audit.record(
        actor, f"limit.{what}", object_type="limit", object_id=limit.id, now=clock.now(), **words
    )
