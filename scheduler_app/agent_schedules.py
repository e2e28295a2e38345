"""The one schedule by which an agent works for an owner: the first that names it.

Others may name it as well; a list of schedules finds them by the agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.db import connection, transaction

from agents_app.models import Agent
from executions_app.audit import Actor
from scheduler_app import definition, schedules
from scheduler_app.definition import Definition, InvalidDefinition, Problem
from scheduler_app.models import Schedule

TASK_TYPE: Final = "agent"
LOCK_KEY: Final = 0x41534348  # of an owner's first schedule of an agent there is one maker


def primary(agent: Agent, *, owner_id: int) -> Schedule | None:
    """The owner's first schedule that names the agent."""
    own = Schedule.objects.filter(owner_id=owner_id, task_type=TASK_TYPE)
    return own.filter(task_config__agent=agent.name).order_by("id").first()


def parse(agent: Agent, words: Mapping[str, Any], *, seen: Schedule | None) -> Definition:
    """The checked definition of the agent's schedule: what is not said stays as it is, or begins.

    Raises InvalidDefinition, also for words that are about another agent or another task.
    """
    kept = {"name": agent.name} if seen is None else definition.stored(seen)
    config = words.get("task_config", kept.get("task_config", {}))
    problems = []
    if words.get("task_type", TASK_TYPE) != TASK_TYPE:
        message = f"a schedule of an agent is of type {TASK_TYPE!r}"
        problems.append(Problem(("task_type",), "invalid", message))
    if not isinstance(config, Mapping):
        problems.append(Problem(("task_config",), "invalid", "not an object"))
    elif config.get("agent", agent.name) != agent.name:
        message = f"this is the schedule of {agent.name!r}"
        problems.append(Problem(("task_config", "agent"), "invalid", message))
    if problems:
        raise InvalidDefinition(problems)
    whole = {"task_type": TASK_TYPE, "task_config": {**config, "agent": agent.name}}
    return definition.parse({**kept, **words, **whole})


def create(
    agent: Agent, parsed: Definition, *, owner_id: int, actor: Actor
) -> tuple[Schedule, bool]:
    """The agent's new schedule, and True; or the one that somebody has made meanwhile, and False.

    Raises as `schedules.create`.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            key = f"{owner_id}:{agent.id}"
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK_KEY, key])
        found = primary(agent, owner_id=owner_id)
        if found is not None:
            return found, False
        return schedules.create(parsed, owner_id=owner_id, actor=actor), True
