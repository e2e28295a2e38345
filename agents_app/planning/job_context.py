"""What a model is told about an execution, as plain values that are kept with its cycle. Pure.

`context.gather` fills it, `trimming` leaves out of it what does not fit, `prompts` writes it down.
Whatever stands here has been scrubbed: no URL of an endpoint, no header, no credential.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import JsonValue, TypeAdapter


class Bounds(Protocol):
    """How much of the past a prompt may hold; `agent_config.PromptOptimization` is one."""

    @property
    def max_messages(self) -> int: ...
    @property
    def max_endpoint_usage(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds without bounds of their own; nobody's default."""

    max_messages: int
    max_endpoint_usage: int
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the schedule asks for, as a person wrote it, and the limits a person set.

    `rule`: its own timing in words; `interval_ms` is known only where that is a plain interval;
    `nominal_at`: the planned instant of this run, if it has one.
    """

    name: str
    goal: str
    parameters: dict[str, JsonValue] = field(default_factory=dict)
    timezone: str = "UTC"
    rule: str = ""
    interval_ms: int | None = None
    nominal_at: datetime | None = None
    strategy: str = "auto"
    autonomy: str = "off"
    max_parallel: int = 5
    min_interval_ms: int | None = None
    max_interval_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """Who plans; `instructions` are an operator's."""

    name: str = ""
    model: str = ""
    instructions: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """An endpoint as a plan may name it: never its URL, its headers or its credentials."""

    name: str
    description: str = ""
    method: str = "GET"
    side_effect: str = "read"
    critical: bool = False
    timeout_ms: int = 30_000
    parameters_schema: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFacts:
    """A tool as a plan may name it."""

    name: str
    description: str = ""
    parameters_schema: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """An earlier execution that has ended; `headline`: its summary, result or error, cut."""

    ended_at: datetime
    status: str
    outcome: str = ""
    tier: str = ""
    duration_ms: int | None = None
    headline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointUse:
    """How an endpoint, or a tool, did in those executions; `last_reason`: of its last failure."""

    name: str
    calls: int
    failures: int
    p50_ms: int | None = None
    last_status: str = ""
    last_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that the agent remembers: `message`, `fact` or `outcome`."""

    kind: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The earlier executions in numbers; rates from 0 to 1, None where there were none."""

    runs: int = 0
    success_rate: float | None = None
    mean_duration_ms: int | None = None
    failures_in_a_row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """All that a prompt is made of. Runs and messages: the newest first; memory: or the nearest.

    `token_ratio`: how many tokens this model counts where our estimate says one. `remarks`: for
    people, on how it was gathered; no model is told them.
    """

    job: Job
    now: datetime
    next_run_at: datetime | None = None
    agent: AgentFacts = field(default_factory=AgentFacts)
    endpoints: tuple[EndpointFacts, ...] = ()
    tools: tuple[ToolFacts, ...] = ()
    runs: tuple[PastRun, ...] = ()
    usage: tuple[EndpointUse, ...] = ()
    messages: tuple[Note, ...] = ()
    memory: tuple[Note, ...] = ()
    metrics: Metrics = field(default_factory=Metrics)
    token_ratio: float = 1.0
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As it is kept with its cycle; instants end in Z."""
        kept: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return kept

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> JobContext:
        """What `as_json` gave; raises pydantic.ValidationError. Further keys are left out."""
        return _ADAPTER.validate_python(dict(kept))

    def as_text(self) -> str:
        """The same text for the same context, whatever the order of keys it was made with."""
        return json.dumps(self.as_json(), sort_keys=True, ensure_ascii=False)


_ADAPTER: Final = TypeAdapter(JobContext)
