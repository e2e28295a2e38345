"""A job as a model is told of it, with something in every section."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agents_app.planning.job_context import (
    AgentFacts,
    EndpointFacts,
    EndpointUse,
    Job,
    JobContext,
    Limits,
    Metrics,
    Note,
    PastRun,
    ToolFacts,
)

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
AMPLE = Limits(max_messages=50, max_endpoint_usage=50, max_tokens=100_000)

JOB = Job(
    name="warm the caches",
    goal="Keep the caches of both regions warm.",
    parameters={"region": "eu", "depth": 2},
    timezone="Europe/Berlin",
    rule="every 600000 ms",
    interval_ms=600_000,
    nominal_at=NOW,
    min_interval_ms=60_000,
    max_interval_ms=86_400_000,
)
ENDPOINTS = (
    EndpointFacts(
        name="warm-eu",
        description="Warms the caches of the European region and says how many entries it read.",
        method="POST",
        side_effect="write",
        critical=True,
        parameters_schema={
            "type": "object",
            "properties": {"depth": {"type": "integer", "minimum": 1, "maximum": 5}},
            "required": ["depth"],
        },
    ),
    EndpointFacts(name="hit-rate", description="The share of answers out of the cache."),
)
TOOLS = (ToolFacts(name="notify", description="Tells the people on duty."),)


def ago(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


def notes(kind: str, *texts: str) -> tuple[Note, ...]:
    """The first is the newest."""
    return tuple(
        Note(kind=kind, text=text, at=ago(10 * place)) for place, text in enumerate(texts, start=1)
    )


def a_context(**changes: Any) -> JobContext:
    context = JobContext(
        job=JOB,
        now=NOW,
        next_run_at=NOW + timedelta(minutes=10),
        agent=AgentFacts(name="default", model="a-model", instructions="Prefer few calls."),
        endpoints=ENDPOINTS,
        tools=TOOLS,
        runs=(
            PastRun(
                ended_at=ago(10),
                status="failed",
                outcome="timeout",
                tier="model",
                duration_ms=30_000,
                headline="timeout: warm-eu did not answer",
            ),
            PastRun(
                ended_at=ago(20),
                status="completed",
                outcome="ok",
                tier="deterministic",
                duration_ms=800,
                headline="Both caches are warm.",
            ),
        ),
        usage=(
            EndpointUse(
                name="warm-eu",
                calls=2,
                failures=1,
                p50_ms=15_400,
                last_status="failed",
                last_reason="timeout",
            ),
            EndpointUse(name="hit-rate", calls=2, failures=0, p50_ms=40, last_status="completed"),
        ),
        messages=notes("message", "Traffic doubles tonight.", "The cache was resized."),
        memory=notes("fact", "warm-eu is slow at night.") + notes("outcome", "Hit rate 97 %."),
        metrics=Metrics(runs=2, success_rate=0.5, mean_duration_ms=15_400, failures_in_a_row=1),
    )
    return replace(context, **changes)


def with_long_history(**changes: Any) -> JobContext:
    long = "Something happened that takes a few more words to tell. " * 4
    given = a_context(
        messages=notes("message", *[f"message {n}: {long}" for n in range(40)]),
        memory=notes("outcome", *[f"outcome {n}: {long}" for n in range(40)]),
        runs=tuple(
            PastRun(ended_at=ago(n), status="completed", headline=f"run {n}: {long}")
            for n in range(20)
        ),
        usage=tuple(EndpointUse(name=f"endpoint-{n}", calls=n, failures=0) for n in range(60)),
    )
    return replace(given, **changes)
