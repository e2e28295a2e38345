"""What tests of cycles make: credentials, providers, agents and endpoints, as people make them."""

from __future__ import annotations

from itertools import count
from typing import Any

from django.contrib.auth.models import Group, User

from agents_app.models import Agent, Credential, Cycle, Endpoint, Provider
from agents_app.objects import agents, credentials, endpoints, providers
from executions_app import clock, ids
from executions_app.audit import SYSTEM, Actor
from executions_app.models import AuditEntry, Execution
from executions_app.permissions import OPERATOR
from tests.factories import ExecutionFactory, UserFactory

SECRET = "s3cr3t-v4lue-of-a-credential"
NUMBERS = count(1)


def person(**words: Any) -> User:
    found: User = UserFactory.create(**words)
    return found


def operator() -> User:
    user = person()
    user.groups.add(Group.objects.get_or_create(name=OPERATOR)[0])
    return user


def credential(owner: User | None = None, **words: Any) -> Credential:
    words = {"name": f"credential-{next(NUMBERS)}", "value": SECRET, **words}
    owner_id = None if owner is None else owner.pk
    if owner is None:
        words.setdefault("hosts", ["127.0.0.1", "*.example.com"])
    return credentials.create(words, owner_id=owner_id, actor=SYSTEM)


def provider(*, actor: Actor = SYSTEM, **words: Any) -> Provider:
    words = {"name": f"provider-{next(NUMBERS)}", "base_url": "http://127.0.0.1:1/v1", **words}
    return providers.create(words, actor=actor)


def agent(**words: Any) -> Agent:
    words = {"name": f"agent-{next(NUMBERS)}", "model": "small", **words}
    if "provider" not in words:
        words["provider"] = provider().name
    return agents.create(words, actor=SYSTEM)


def endpoint(owner: User, **words: Any) -> Endpoint:
    words = {"name": f"endpoint-{next(NUMBERS)}", "url": "https://caches.example.com/", **words}
    return endpoints.create(words, owner_id=owner.pk, actor=SYSTEM)


def working(of: Agent | None, *, owner: User, stage: str = "execute", **words: Any) -> Cycle:
    """A cycle that is under way, with its execution."""
    execution: Execution = ExecutionFactory.create(owner=owner)
    now = clock.now()
    agent_id = None if of is None else of.id
    words = {"deadline": now, "status": "running", "agent_id": agent_id, **words}
    return Cycle.objects.create(
        id=ids.new(now),
        execution_id=execution.id,
        owner_id=owner.pk,
        token=ids.new(now),
        stage=stage,
        **words,
    )


def audited(object_id: object) -> dict[str, AuditEntry]:
    """What the audit log tells of an object, by what was done; a test is one instant."""
    return {one.action: one for one in AuditEntry.objects.filter(object_id=str(object_id))}


def everything_audited() -> str:
    """All words of the audit log."""
    rows = AuditEntry.objects.values_list("before", "after", "note", "action")
    return repr(list(rows))
