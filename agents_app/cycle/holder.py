"""The execution that a cycle holds, as the modules below know it: an execution and its lease."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agents_app.agent_config import AgentConfig
from agents_app.clients import statuses
from agents_app.models import Cycle
from config.env import env
from executions_app import leases
from executions_app.ledger import Claimed
from executions_app.states import LostRace


def of(cycle: Cycle) -> Claimed:
    """The lease that the cycle holds; raises LostRace once its execution is another's, or over."""
    held = leases.held(cycle.execution_id, cycle.token)
    if held is None:
        raise LostRace("The execution of this cycle is over, or another's", cycle_id=cycle.id)
    return held


def request_id(held: Claimed) -> str:
    """Under which id models are asked for it, as endpoints are called."""
    return statuses.request_id(held.correlation_id, otherwise=held.id)


def config_of(held: Claimed) -> AgentConfig:
    """What its schedule says about the AI."""
    return config_in(held.snapshot)


def config_in(snapshot: Mapping[str, Any]) -> AgentConfig:
    """The same, of any execution of an agent."""
    return AgentConfig.model_validate(snapshot["task_config"])


def deadline_of(held: Claimed, *, begins_at: datetime) -> datetime:
    """When the time limit of an execution is over whose work begins then."""
    return begins_at + timedelta(milliseconds=held.snapshot["timeout_ms"])


def lease_until(deadline: datetime) -> datetime:
    """How long the lease of a cycle lasts: whoever ends it in time comes first."""
    return deadline + timedelta(seconds=env.hard_limit_grace_seconds + env.lease_seconds)
