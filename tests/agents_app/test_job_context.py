"""What is gathered for a model: the right rows, few queries, no secrets, always the same text."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app import memory
from agents_app.models import Agent, Cycle, Endpoint, Memory, ModelCall, Provider
from agents_app.models_memory import MemoryKind
from agents_app.objects import remarks
from agents_app.planning import context as gathering
from agents_app.planning import prompts
from agents_app.planning.contracts import Plan, PlanStep
from agents_app.planning.job_context import EndpointUse, JobContext
from executions_app import clock, ids, lifecycle
from executions_app.models import Execution, Step
from tests.agents_app.told import AMPLE, a_context
from tests.scale.plans import watched

SCHEDULE = uuid4()
SECRET = "s3cr3t-of-the-endpoint"
CONFIG: dict[str, Any] = {
    "goal": "Keep the caches warm.",
    "endpoints": ["warm-eu", "hit-rate", "switched-off", "never-made"],
    "tools": ["now", "wait", "no-such-tool"],
    "autonomy": "propose",
    "min_interval_ms": 60_000,
    "max_interval_ms": 3_600_000,
}
MOST_QUERIES = 7
pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def agent() -> Agent:
    provider = Provider.objects.create(name="a provider", base_url="http://127.0.0.1:1/v1")
    return Agent.objects.create(
        name="an agent",
        provider=provider,
        model="a-model",
        tools=["now", "json_extract", "no-such-tool"],
        instructions="Prefer few calls.",
    )


@pytest.fixture
def endpoints(owner: User) -> None:
    words: dict[str, Any] = {
        "url": f"https://example.org/?key={SECRET}",
        "headers": {"X-Key": SECRET},
    }
    Endpoint.objects.create(
        owner=owner,
        name="hit-rate",
        description=f"The hit rate; Authorization: Bearer {SECRET}",
        parameters_schema={
            "type": "object",
            "properties": {
                "api_key": {"type": "string", "default": SECRET},
                "password": {"anyOf": [{"const": SECRET}, {"type": "string"}]},
                "depth": {"default": 2, "examples": [f"Authorization: Bearer {SECRET}"]},
            },
        },
        **words,
    )
    Endpoint.objects.create(
        owner=owner, name="warm-eu", method="POST", side_effect="write", critical=True, **words
    )
    Endpoint.objects.create(owner=owner, name="switched-off", enabled=False, **words)
    Endpoint.objects.create(owner=owner, name="not-named", **words)
    Endpoint.objects.create(owner=User.objects.create_user("other"), name="never-made", **words)


def an_execution(
    owner: User, *, minutes_ago: int = 0, schedule_id: UUID | None = SCHEDULE, **changes: Any
) -> Execution:
    at = clock.now() - timedelta(minutes=minutes_ago)
    new = lifecycle.NewExecution(
        id=ids.new(at),
        schedule_id=schedule_id,
        owner_id=owner.pk,
        snapshot={
            "name": "warm the caches",
            "task_type": "agent",
            "task_config": CONFIG,
            "timeout_ms": 60_000,
            "timezone": "Europe/Berlin",
            "schedule_type": "interval",
            "schedule_config": {"interval_ms": 600_000},
        },
        trigger="time",
        nominal_at=at,
        due_at=at,
        priority="normal",
        max_attempts=4,
        parameters={"region": "eu", "token": SECRET},
    )
    lifecycle.create([new])
    Execution.objects.filter(id=new.id).update(**changes)
    return Execution.objects.get(id=new.id)


def ended(owner: User, *, minutes_ago: int, seconds: int = 2, **changes: Any) -> Execution:
    at = clock.now() - timedelta(minutes=minutes_ago)
    words = {"status": "completed", "outcome": "ok", "result": {"warmed": 7}, **changes}
    return an_execution(
        owner,
        minutes_ago=minutes_ago,
        started_at=at,
        completed_at=at + timedelta(seconds=seconds),
        **words,
    )


def a_cycle(execution: Execution, agent: Agent | None = None, **words: Any) -> Cycle:
    now = clock.now()
    # Within a transaction it is always now: the order of their ids is that of their making.
    later = now + timedelta(milliseconds=Cycle.objects.count())
    return Cycle.objects.create(
        id=ids.new(later),
        execution_id=execution.id,
        schedule_id=execution.schedule_id,
        owner_id=execution.owner_id,
        agent_id=agent.id if agent else None,
        token=uuid4(),
        deadline=now + timedelta(minutes=1),
        **words,
    )


def a_step(execution: Execution, name: str, *, status: str = "completed", ms: int = 100) -> None:
    at = clock.now()
    Step.objects.create(
        id=ids.new(at),
        execution_id=execution.id,
        position=0,
        name=name,
        status=status,
        reason="" if status == "completed" else "timeout: token=abcdefghijkl",
        started_at=at,
        completed_at=at + timedelta(milliseconds=ms),
    )


def gathered(cycle: Cycle, **words: Any) -> JobContext:
    return gathering.gather(cycle, now=clock.now(), **words)


def test_the_job_is_told_as_its_execution_knows_it(owner: User, agent: Agent) -> None:
    execution = an_execution(owner)
    next_run_at = clock.now() + timedelta(minutes=10)
    cycle = a_cycle(execution, agent, seen_next_run_at=next_run_at)

    context = gathered(cycle)

    assert context.job.name == "warm the caches"
    assert context.job.goal == "Keep the caches warm."
    assert context.job.timezone == "Europe/Berlin"
    assert context.job.rule == "every 600000 ms"
    assert context.job.interval_ms == 600_000
    assert context.job.nominal_at == execution.nominal_at
    assert (context.job.min_interval_ms, context.job.max_interval_ms) == (60_000, 3_600_000)
    assert context.next_run_at == next_run_at
    assert context.agent.name == "an agent"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"cron": "0 9 * * *"}, "cron 0 9 * * *"),
        ({"every": "30 minutes"}, "every 30 minutes"),
        ({"run_at": "2026-12-01T09:00:00Z"}, "once, at 2026-12-01T09:00:00Z"),
        ({}, ""),
    ],
)
def test_the_rule_of_the_schedule_is_told_in_words(
    owner: User, agent: Agent, rule: dict[str, str], words: str
) -> None:
    execution = an_execution(owner)
    execution.snapshot["schedule_config"] = rule
    Execution.objects.filter(id=execution.id).update(snapshot=execution.snapshot)

    context = gathered(a_cycle(execution, agent))

    assert context.job.rule == words
    assert context.job.interval_ms is None


@pytest.mark.usefixtures("endpoints")
def test_endpoints_are_those_the_schedule_names_that_its_owner_has_enabled(
    owner: User, agent: Agent
) -> None:
    context = gathered(a_cycle(an_execution(owner), agent))

    assert [one.name for one in context.endpoints] == ["warm-eu", "hit-rate"]
    assert context.endpoints[0].side_effect == "write"
    assert context.endpoints[0].critical


def test_tools_are_those_that_schedule_and_agent_both_name(owner: User, agent: Agent) -> None:
    cycle = a_cycle(an_execution(owner), agent)

    context = gathered(cycle)

    assert [one.name for one in context.tools] == ["now"]
    assert context.tools[0].description
    assert gathering.offering(context, required=["json_extract", "wait"]).tools == context.tools
    assert gathered(a_cycle(an_execution(owner))).tools == ()


@pytest.mark.usefixtures("endpoints")
def test_no_secret_and_no_url_of_an_endpoint_is_told(owner: User, agent: Agent) -> None:
    failed = ended(owner, minutes_ago=5, result={"api_key": SECRET, "password": SECRET})
    a_step(failed, "warm-eu", status="failed")

    context = gathered(a_cycle(an_execution(owner), agent))

    asked = [prompts.messages_for(phase, context, limits=AMPLE) for phase in prompts.PHASES]
    told = context.as_text() + "".join(m.content for one in asked for m in one.messages)
    assert SECRET not in told
    assert "example.org" not in told
    assert "abcdefghijkl" not in told
    assert context.endpoints[1].parameters_schema["properties"] == {
        "api_key": {"type": "string"},
        "password": {"anyOf": [{}, {"type": "string"}]},
        "depth": {"default": 2, "examples": ["Authorization: [scrubbed]"]},
    }


def test_the_last_runs_are_told_the_newest_first_with_what_came_of_them(
    owner: User, agent: Agent
) -> None:
    first = ended(owner, minutes_ago=9)
    second = ended(owner, minutes_ago=8, status="failed", outcome="timeout", seconds=4)
    a_cycle(first, agent, tier="deterministic", summary="Both caches are warm.")
    ended(owner, minutes_ago=7, schedule_id=uuid4())
    an_execution(owner, minutes_ago=6)  # it waits still
    third = ended(owner, minutes_ago=5, status="cancelled", outcome="cancelled")

    context = gathered(a_cycle(an_execution(owner), agent))

    assert [one.status for one in context.runs] == ["cancelled", "failed", "completed"]
    assert context.runs[2].headline == "Both caches are warm."
    assert context.runs[2].tier == "deterministic"
    assert context.runs[1].duration_ms == 4_000
    assert context.runs[0].headline == '{"warmed": 7}'
    assert {one.ended_at for one in context.runs} == {
        one.completed_at for one in (first, second, third)
    }
    assert context.metrics.runs == 2
    assert context.metrics.success_rate == 0.5
    assert context.metrics.mean_duration_ms == 3_000
    assert context.metrics.failures_in_a_row == 1


def test_how_each_endpoint_did_is_told_what_fails_most_first(owner: User, agent: Agent) -> None:
    first, second = ended(owner, minutes_ago=9), ended(owner, minutes_ago=8)
    for execution, ms in ((first, 100), (second, 300)):
        a_step(execution, "hit-rate", ms=ms)
    a_step(first, "warm-eu", status="failed")
    a_step(second, "warm-eu")
    a_step(second, "never-begun", status="skipped")
    a_step(ended(owner, minutes_ago=7, schedule_id=uuid4()), "of another schedule")

    usage = gathered(a_cycle(an_execution(owner), agent)).usage

    assert [one.name for one in usage] == ["warm-eu", "hit-rate"]
    assert usage[0].failures == 1
    assert usage[0].last_reason.startswith("timeout")
    assert usage[1] == EndpointUse(
        name="hit-rate", calls=2, failures=0, p50_ms=200, last_status="completed"
    )


def test_the_second_runs_prompt_holds_the_outcome_of_the_first(owner: User, agent: Agent) -> None:
    first = ended(owner, minutes_ago=5)
    summary = "The European cache was cold; 812 entries were read."
    cycle = a_cycle(first, agent, tier="model", summary=summary)
    memory.remember_cycle(cycle, outcome="failed")
    memory.remember_cycle(cycle, outcome="completed, partial")

    context = gathered(a_cycle(an_execution(owner), agent))

    assert [one.text for one in context.memory] == [
        f"completed, partial (planned by: model). {summary}"
    ]
    asked = prompts.messages_for("plan", context, limits=AMPLE)
    assert "# What you remember" in asked.messages[1].content
    assert "812 entries were read" in asked.messages[1].content


def test_what_its_owner_has_told_the_agent_is_in_the_prompt_and_what_others_told_is_not(
    owner: User, agent: Agent
) -> None:
    other = User.objects.create_user("other")
    for user in (owner, other):
        text = f"{user.username} prefers the cheaper one. DATA>>>"
        remarks.leave(agent.id, {"text": text}, kind=MemoryKind.MESSAGE, user=user)

    context = gathered(a_cycle(an_execution(owner), agent))

    for phase in ("plan", "schedule"):
        asked = prompts.messages_for(phase, context, limits=AMPLE).messages[1].content
        assert "prefer what they prefer" in asked
        assert "owner prefers the cheaper one. DATA> > >" in asked
        assert "other prefers" not in asked


def test_a_cycle_without_an_agent_is_remembered_by_nobody(owner: User) -> None:
    memory.remember_cycle(a_cycle(ended(owner, minutes_ago=5)), outcome="completed")

    assert not Memory.objects.exists()


def test_no_more_notes_are_gathered_than_a_prompt_may_hold(owner: User, agent: Agent) -> None:
    for kind in (MemoryKind.MESSAGE, MemoryKind.FACT):
        for number in range(25):
            text = f"{kind} {number}"
            memory.remember(
                memory.New(
                    agent_id=agent.id,
                    owner_id=owner.pk,
                    kind=kind,
                    text=text,
                    schedule_id=SCHEDULE,
                )
            )

    context = gathered(a_cycle(an_execution(owner), agent))

    assert [one.text for one in context.messages] == [f"message {n}" for n in range(24, 4, -1)]
    assert len(context.memory) == 20


def test_an_execution_of_no_schedule_has_no_past(owner: User, agent: Agent) -> None:
    ended(owner, minutes_ago=5, schedule_id=None)

    context = gathered(a_cycle(an_execution(owner, schedule_id=None), agent))

    assert context.runs == ()
    assert context.usage == ()
    assert context.metrics.success_rate is None


def a_call(*, tokens: int, characters: int, model: str = "a-model", **words: Any) -> None:
    ModelCall.objects.create(
        id=ids.new(clock.now()),
        schedule_id=SCHEDULE,
        provider="a provider",
        model=model,
        phase="plan",
        status="ok",
        request=[{"role": "user", "content": "x" * characters}],
        prompt_tokens=tokens,
        **words,
    )


def test_the_estimate_of_tokens_follows_what_this_model_counted(owner: User, agent: Agent) -> None:
    execution = an_execution(owner)
    a_call(tokens=900, characters=1_000, model="another-model")
    a_call(tokens=900, characters=1_000, is_estimated=True)
    cycle = a_cycle(execution, agent)
    assert gathered(cycle).token_ratio == 1.0

    a_call(tokens=500, characters=1_000)
    a_call(tokens=250, characters=1_000)

    assert gathered(cycle).token_ratio == 1.5


@pytest.mark.usefixtures("endpoints")
def test_the_context_survives_being_stored(owner: User, agent: Agent) -> None:
    a_step(ended(owner, minutes_ago=5), "warm-eu")
    cycle = a_cycle(an_execution(owner), agent, seen_next_run_at=clock.now())
    context = gathered(cycle)

    Cycle.objects.filter(id=cycle.id).update(context=context.as_json())
    cycle.refresh_from_db()

    stored = JobContext.from_json(cycle.context)
    assert stored == context
    assert stored.as_text() == context.as_text()
    for phase in prompts.PHASES:
        told = prompts.messages_for(phase, stored, limits=AMPLE)
        assert told == prompts.messages_for(phase, context, limits=AMPLE)


def test_the_same_context_is_the_same_text_and_unknown_keys_are_no_matter() -> None:
    context = a_context()
    stored = json.loads(json.dumps(context.as_json()))

    assert stored["now"] == "2026-11-22T08:30:00Z"
    assert JobContext.from_json({**stored, "of_a_later_version": 1}) == context
    assert JobContext.from_json(dict(reversed(stored.items()))).as_text() == context.as_text()


@pytest.mark.usefixtures("endpoints")
def test_a_context_is_gathered_in_few_queries(owner: User, agent: Agent) -> None:
    for minutes_ago in range(30, 5, -1):
        a_step(ended(owner, minutes_ago=minutes_ago), "warm-eu")
    cycle = a_cycle(an_execution(owner), agent)

    with CaptureQueriesContext(connection) as seen:
        context = gathering.gather(cycle, now=clock.now())

    assert len(context.runs) == 20
    assert len(seen) - 1 <= MOST_QUERIES  # one asks for the time


MANY = """
WITH made AS (
    INSERT INTO task_executions (
        id, schedule_id, snapshot, owner_id, trigger, parameters, due_at, status, outcome, priority,
        queue, attempt, max_attempts, lease_extensions, worker_id, publish_count, slice_size,
        travels_alone, started_at, completed_at, progress, result, result_truncated, held_by,
        correlation_id, created_at, updated_at)
    SELECT cadenza_uuid7(%(now)s::timestamptz - interval '1 minute' * n),
        CASE WHEN n %% 2 = 0 THEN %(schedule)s::uuid ELSE %(other)s::uuid END, '{}',
        %(owner)s, 'time', '{}', now(), 'completed', 'ok', 'normal', 'normal', 1, 1, 0, '', 1, 1,
        false, now(), now(), '{}', '{"warmed": 7}', false, '', '', now(), now()
    FROM generate_series(1, 10000) AS n
    RETURNING id, schedule_id
), stepped AS (
    INSERT INTO execution_steps (id, execution_id, position, wave, name, config, depends_on,
        is_critical, status, reason, error_class, attempt, worker_id, started_at, completed_at)
    SELECT id, id, 0, 0, 'warm-eu', '{}', '{}', false, 'completed', '', '', 1, '', now(), now()
    FROM made
), told AS (
    INSERT INTO model_calls (id, schedule_id, provider, model, phase, attempt, is_repair, template,
        template_hash, mode, request, response, status, failure_class, failure, malformed_class,
        problems, prompt_tokens, completion_tokens, is_estimated, cost_usd, latency_ms)
    SELECT id, schedule_id, 'p', 'a-model', 'plan', 1, false, '', '', '',
        '[{"role": "user", "content": "four"}]', '', 'ok', '', '', '', '[]', 1, 1, false, 0, 1
    FROM made
)
INSERT INTO cycles (id, execution_id, schedule_id, owner_id, token, queue, stage, status, deadline,
    wave, waves, strategy, concurrency, analysis, context, plan, summary, tier, tier_reason, notes,
    seen_version, prompt_tokens, completion_tokens, cost_usd, timings, redriven)
SELECT id, id, schedule_id, %(owner)s, id, 'normal', 'done', 'completed', now(), 0, 0, '', 1, '{}',
    '{}', %(plan)s, 'warm', %(tier)s, '', '[]', 1, 0, 0, 0, '{}', 0
FROM made
"""


def fill(owner: User, *, tier: str = "model") -> None:
    plan = Plan("sequential", 1, (PlanStep(id="s1", target="endpoint", name="warm-eu"),))
    with connection.cursor() as cursor:
        cursor.execute(
            MANY,
            {
                "now": clock.now(),
                "schedule": SCHEDULE,
                "other": uuid4(),
                "owner": owner.pk,
                "plan": json.dumps(plan.as_json()),
                "tier": tier,
            },
        )
        for table in ("task_executions", "execution_steps", "model_calls", "cycles"):
            cursor.execute(f"ANALYZE {table}")


@pytest.mark.usefixtures("endpoints")
def test_ten_thousand_executions_cost_no_more_to_look_back_on(owner: User, agent: Agent) -> None:
    fill(owner)
    cycle = a_cycle(an_execution(owner), agent)

    with watched() as seen:
        context = gathering.gather(cycle, now=clock.now())

    assert len(context.runs) == 20
    assert context.usage[0].calls == 20
    assert context.token_ratio == 1.0
    assert max(one.most_scanned() for one in seen.plans) <= 1_000, "\n".join(map(str, seen.plans))
    seen.must_cost_little(pages=1_000)


@pytest.mark.parametrize("tier", ["model", "deterministic"])
def test_ten_thousand_cycles_cost_no_more_to_find_the_last_good_plan_in(
    owner: User, agent: Agent, tier: str
) -> None:
    fill(owner, tier=tier)
    cycle = a_cycle(an_execution(owner), agent)

    with watched() as seen:
        found = gathering.earlier(cycle)

    assert len(found.plans) == (5 if tier == "model" else 0)
    assert max(one.most_scanned() for one in seen.plans) <= 1_000, "\n".join(map(str, seen.plans))
    seen.must_cost_little(pages=2_000)


def test_earlier_plans_are_those_that_a_model_made_and_that_went_well(
    owner: User, agent: Agent
) -> None:
    def planned(name: str, **words: Any) -> None:
        plan = Plan("sequential", 1, (PlanStep(id="s1", target="endpoint", name=name),))
        kept = {"status": "completed", "tier": "model", "plan": plan.as_json(), **words}
        a_cycle(ended(owner, minutes_ago=5), agent, **kept)

    def advised(source: str, interval_ms: int) -> dict[str, Any]:
        return {"source": source, "advice": {"action": "interval", "interval_ms": interval_ms}}

    planned("oldest", advice=advised("model", 90_000))
    planned("in an outage", tier="last_good", advice=advised("fallback:adaptive", 5_000))
    planned("failed", status="failed", advice=advised("model", 1_000))
    planned("by nobody", tier="deterministic", advice=advised("model", 2_000))
    planned("unreadable", plan={"steps": "none"})
    a_cycle(ended(owner, minutes_ago=5, schedule_id=uuid4()), agent, tier="model")

    found = gathering.earlier(a_cycle(an_execution(owner), agent))

    assert [one.steps[0].name for one in found.plans] == ["in an outage", "oldest"]
    assert found.interval_ms == 90_000
    alone = gathering.earlier(a_cycle(an_execution(owner, schedule_id=None), agent))
    assert alone == gathering.Earlier()
