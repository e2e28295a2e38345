"""Gathers what a model is told about an execution: once per cycle, in seven queries at most.

The execution, its agent, its endpoints, what the schedule's last executions came to, how their
calls went, what the agent remembers, and how far our estimate of tokens is off for this model. Each
reads a bounded number of rows by an index, however long the history is. The schedule itself is not
read: an execution knows what it needs of it. Up to three queries more say what of the memory is
near to the goal, where there is an embedding model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection
from pydantic import JsonValue

from agents_app import memory, rights, tiers
from agents_app.agent_config import AgentConfig
from agents_app.models import Agent, Cycle, Endpoint
from agents_app.planning import history, trimming
from agents_app.planning.contracts import Plan
from agents_app.planning.job_context import (
    AgentFacts,
    EndpointFacts,
    Job,
    ToolFacts,
)
from agents_app.planning.job_context import JobContext as JobContext
from agents_app.tools import choosing, registry
from executions_app import prepared
from executions_app.models import Execution
from executions_app.scrub import is_secret_name, scrub, storable_without_secrets

PARAMETERS_BYTES: Final = 8 * 1024
SCHEMA_CHARACTERS: Final = 4_000
MOST_DEPTH: Final = 12
MOST_DESCRIPTION: Final = 500
MOST_CALLS: Final = 20
EARLIER_CYCLES: Final = 500
VALUES: Final = frozenset({"default", "const", "examples", "example", "enum"})
GOOD_CYCLES: Final = """
SELECT plan::text, coalesce(advice, 'null')::text FROM (
    SELECT id, status, tier, plan, advice FROM cycles
    WHERE schedule_id = %s AND id < %s ORDER BY id DESC LIMIT %s
) AS latest
WHERE status = 'completed' AND tier = ANY(%s) AND plan IS NOT NULL ORDER BY id DESC LIMIT %s
"""
COUNTED: Final = """
SELECT sum(prompt_tokens), sum(characters) FROM (
    SELECT prompt_tokens, is_estimated, model, status, (
        SELECT sum(length(one->>'content')) FROM jsonb_array_elements(request) AS one
    ) AS characters
    FROM model_calls WHERE schedule_id = %s ORDER BY id DESC LIMIT %s
) AS latest
WHERE model = %s AND NOT is_estimated AND prompt_tokens > 0 AND characters BETWEEN 1 AND 40000
"""
"""Longer requests are stored cut, and would mislead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """A run that a model is told of: one at hand, or the next one, that is only looked at.

    What began before `id` is its past; `next_run_at` is that of the one after it.
    """

    id: UUID
    owner_id: int
    schedule_id: UUID | None
    agent_id: UUID | None
    snapshot: Mapping[str, Any]
    parameters: Mapping[str, Any]
    nominal_at: datetime | None
    next_run_at: datetime | None


def gather(cycle: Cycle, *, now: datetime, embed: memory.Embed | None = None) -> JobContext:
    """The context of a cycle as its rows say it now; raises Execution.DoesNotExist."""
    execution = Execution.objects.get(id=cycle.execution_id)
    run = Occasion(
        id=execution.id,
        owner_id=cycle.owner_id,
        schedule_id=cycle.schedule_id,
        agent_id=cycle.agent_id,
        snapshot=execution.snapshot,
        parameters=execution.parameters,
        nominal_at=execution.nominal_at,
        next_run_at=cycle.seen_next_run_at,
    )
    return of_run(run, now=now, embed=embed)


def of_run(run: Occasion, *, now: datetime, embed: memory.Embed | None = None) -> JobContext:
    """The context of a run, with all tools that both its schedule and its agent name.

    `embed`: finds what the agent remembers by the goal; it goes over the network, so no transaction
    may be open.
    """
    config = AgentConfig.model_validate(run.snapshot["task_config"])
    agent = Agent.objects.filter(id=run.agent_id).first() if run.agent_id else None
    runs = history.runs(run.schedule_id, before=run.id)
    recalled = memory.recall(
        run.agent_id,
        owner_id=run.owner_id,
        schedule_id=run.schedule_id,
        query=config.goal,
        embed=embed,
        limit=max(trimming.LEAST_MESSAGES, config.prompt_optimization.max_messages),
    )
    return JobContext(
        job=_job(run, config),
        now=now,
        next_run_at=run.next_run_at,
        agent=_facts_of(agent),
        endpoints=_endpoints(run.owner_id, config.endpoints),
        tools=_tools(config.tools, agent or rights.agent_of(None, config)),
        runs=tuple(one.told for one in runs),
        usage=history.usage([one.id for one in runs]),
        messages=recalled.messages,
        memory=recalled.others,
        remarks=(recalled.trouble,) if recalled.trouble else (),
        metrics=history.metrics([one.told for one in runs]),
        token_ratio=_token_ratio(run.schedule_id, agent),
    )


def offering(
    context: JobContext, *, required: Sequence[str] = (), capabilities: Sequence[str] = ()
) -> JobContext:
    """The same with the tools that a plan is offered, the most suited first; it gets no new one.

    Those that are required, then those that suit the goal and the capabilities of the agent; all
    that it has, if these are none.
    """
    has = {one.name: one for one in context.tools}
    suited = choosing.suited(context.job.goal, required, capabilities=capabilities, allowed=has)
    return dataclasses.replace(context, tools=tuple(has[one] for one in suited or has))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier cycles of the schedule left for one without a model: plans, the newest first.

    `interval_ms`: that a model last gave.
    """

    plans: tuple[Plan, ...] = ()
    interval_ms: int | None = None


def earlier(cycle: Cycle, *, most: int = 5) -> Earlier:
    """The last plans of a model that were carried out well; one query, of bounded cost.

    A cycle that lived on such a plan counts as well: so an outage, however long, hides none.
    """
    if cycle.schedule_id is None:
        return Earlier()
    with connection.cursor() as cursor:
        cursor.execute(
            GOOD_CYCLES,
            [cycle.schedule_id, cycle.id, EARLIER_CYCLES, sorted(tiers.OF_A_MODEL), most],
        )
        found = [(json.loads(plan), json.loads(advice)) for plan, advice in cursor.fetchall()]
    plans = [plan for kept, _ in found for plan in _plan(kept)]
    given = (_interval(advice) for _, advice in found)
    return Earlier(tuple(plans), next((one for one in given if one is not None), None))


def _plan(kept: JsonValue) -> list[Plan]:
    try:
        return [Plan.from_json(kept)]
    except ValueError:
        return []  # of an earlier version of the contract


def _interval(advice: Mapping[str, Any] | None) -> int | None:
    if not advice or advice.get("source") not in {"model", "last_good"}:
        return None
    interval_ms = (advice.get("advice") or {}).get("interval_ms")
    return interval_ms if isinstance(interval_ms, int) else None


def _job(run: Occasion, config: AgentConfig) -> Job:
    snapshot = run.snapshot
    rule = snapshot.get("schedule_config") or {}
    parameters, _ = storable_without_secrets(run.parameters, max_bytes=PARAMETERS_BYTES)
    return Job(
        name=str(snapshot.get("name") or ""),
        goal=scrub(config.goal),
        parameters=parameters if isinstance(parameters, dict) else {},
        timezone=str(snapshot.get("timezone") or "UTC"),
        rule=_rule_in_words(rule),
        interval_ms=rule.get("interval_ms"),
        nominal_at=run.nominal_at,
        strategy=config.strategy,
        autonomy=config.autonomy,
        max_parallel=config.max_parallel,
        min_interval_ms=config.min_interval_ms,
        max_interval_ms=config.max_interval_ms,
    )


def _rule_in_words(rule: Mapping[str, Any]) -> str:
    if "cron" in rule:
        return f"cron {rule['cron']}"
    if "every" in rule:
        return f"every {rule['every']}"
    if "interval_ms" in rule:
        return f"every {rule['interval_ms']} ms"
    return f"once, at {rule['run_at']}" if "run_at" in rule else ""


def _facts_of(agent: Agent | None) -> AgentFacts:
    if agent is None:
        return AgentFacts()
    return AgentFacts(name=agent.name, model=agent.model, instructions=scrub(agent.instructions))


def _endpoints(owner_id: int, names: Sequence[str]) -> tuple[EndpointFacts, ...]:
    """Those the schedule names that exist and are enabled, in the order in which it names them."""
    fields = [one.name for one in dataclasses.fields(EndpointFacts)]
    rows = Endpoint.objects.filter(owner_id=owner_id, name__in=names, enabled=True).values(*fields)
    found = {row["name"]: _described(EndpointFacts(**row)) for row in rows}
    return tuple(found[name] for name in dict.fromkeys(names) if name in found)


def _tools(names: Sequence[str], agent: Agent | None) -> tuple[ToolFacts, ...]:
    """Those the schedule names that its agent has, too, in the order in which it names them."""
    known = frozenset(agent.tools if agent else ()) & frozenset(registry.names())
    found = [registry.find(name) for name in dict.fromkeys(names) if name in known]
    return tuple(
        _described(
            ToolFacts(
                name=one.name, description=one.description, parameters_schema=dict(one.schema)
            )
        )
        for one in found
    )


def _described(facts: trimming.Facts) -> trimming.Facts:
    """As a model may read it: without secrets, and not longer than it helps."""
    schema = _shown(facts.parameters_schema)
    assert isinstance(schema, dict)
    if len(str(schema)) > SCHEMA_CHARACTERS:
        schema = trimming.outline(schema)
    return dataclasses.replace(
        facts,
        description=scrub(facts.description)[:MOST_DESCRIPTION],
        parameters_schema=schema,
    )


def _shown(value: JsonValue, *, within: str = "", depth: int = 0) -> JsonValue:
    """A JSON Schema with its texts scrubbed; a parameter named like a secret shows no value.

    `within`: the name of such a parameter, if this is a part of one.
    """
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict | list) and depth >= MOST_DEPTH:
        return None
    if isinstance(value, list):
        return [_shown(one, within=within, depth=depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _shown(one, within=within or (name if is_secret_name(name) else ""), depth=depth + 1)
        for name, one in value.items()
        if not (within and name in VALUES)
    }


def _token_ratio(schedule_id: UUID | None, agent: Agent | None) -> float:
    """How many tokens the model has counted lately where we estimate one; 1 if nobody knows."""
    if schedule_id is None or agent is None:
        return 1.0
    counted = prepared.execute(COUNTED, [schedule_id, MOST_CALLS, agent.model]).fetchone()
    reported, characters = counted or (0, 0)
    return trimming.ratio(reported=int(reported or 0), characters=int(characters or 0))
