"""Who uses what: the names of those that still need something a cycle may use.

Schedules belong to the app above, so they are read by SQL; what they name is in their task_config.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connection

from agents_app.models import Agent, Credential, CycleStatus, Provider
from agents_app.objects import drafts
from agents_app.objects.drafts import InUse


def check(uses: Iterable[tuple[str, list[str]]]) -> None:
    """Raise InUse if any of these (sentence, names) has names."""
    found = [f"{sentence}: {drafts.named(names)}" for sentence, names in uses if names]
    if found:
        raise InUse(f"{'; '.join(found)}; change that first")


def of_credential(credential: Credential) -> list[tuple[str, list[str]]]:
    """Providers that have it and endpoints that name it."""
    return [
        ("Providers use it", providers_of(credential)),
        ("Endpoints use it", endpoints_naming(credential)),
    ]


def providers_of(credential: Credential) -> list[str]:
    """Providers whose key it is."""
    providers = Provider.objects.filter(credential=credential).order_by("name")
    return list(providers.values_list("name", flat=True))


def endpoints_naming(credential: Credential) -> list[str]:
    """Endpoints whose headers name it: an owner's own credential comes before a shared one."""
    return _names(
        """
        SELECT e.name FROM endpoints e
        WHERE jsonb_path_exists(
                e.headers, '$.*.credential ? (@ == $name)', jsonb_build_object('name', %(name)s)
              )
          AND (e.owner_id = %(owner_id)s
               OR (%(owner_id)s IS NULL AND NOT EXISTS (
                     SELECT FROM credentials c WHERE c.owner_id = e.owner_id AND c.name = %(name)s
                   )))
        ORDER BY e.name LIMIT %(most)s
        """,
        name=credential.name,
        owner_id=credential.owner_id,
    )


def of_provider(provider: Provider) -> list[tuple[str, list[str]]]:
    """Agents that ask it and providers that it stands in for."""
    agents = Agent.objects.filter(provider=provider).order_by("name")
    others = Provider.objects.filter(fallback_provider=provider).order_by("name")
    return [
        ("Agents use it", list(agents.values_list("name", flat=True))),
        ("It stands in for providers", list(others.values_list("name", flat=True))),
    ]


def of_agent(agent: Agent) -> list[tuple[str, list[str]]]:
    """Schedules that name it, agents that it stands in for, executions that it works on."""
    others = Agent.objects.filter(fallback_agent=agent).order_by("name")
    return [
        ("Schedules use it", schedules_of_agent(agent.name)),
        ("It stands in for agents", list(others.values_list("name", flat=True))),
        ("It works on executions", _working(agent.id)),
    ]


def schedules_of_agent(name: str) -> list[str]:
    """Schedules whose work this agent does by name."""
    return _names(
        """
        SELECT name FROM task_schedules
        WHERE task_type = 'agent' AND task_config->>'agent' = %(name)s
        ORDER BY name LIMIT %(most)s
        """,
        name=name,
    )


def schedules_of_endpoint(name: str, *, owner_id: int) -> list[str]:
    """Schedules of its owner whose plans may call this endpoint."""
    return _names(
        """
        SELECT name FROM task_schedules
        WHERE owner_id = %(owner_id)s AND task_type = 'agent'
          AND task_config->'endpoints' ? %(name)s
        ORDER BY name LIMIT %(most)s
        """,
        name=name,
        owner_id=owner_id,
    )


def _working(agent_id: UUID) -> list[str]:
    return _names(
        """
        SELECT execution_id::text FROM cycles
        WHERE agent_id = %(agent_id)s AND status = %(running)s AND stage <> 'done'
        ORDER BY id LIMIT %(most)s
        """,
        agent_id=agent_id,
        running=CycleStatus.RUNNING.value,
    )


def _names(sql: str, **parameters: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {**parameters, "most": drafts.MOST_NAMED + 1})
        return [row[0] for row in cursor.fetchall()]
