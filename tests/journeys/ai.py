"""What a journey of the AI cycle has around it: a scripted model, endpoints, a system with both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from agents_app.models import Cycle
from agents_app.objects import endpoints as registered
from executions_app.audit import SYSTEM
from executions_app.models import Execution, Step
from scheduler_app import schedules
from scheduler_app.models import Schedule
from tests.fakes.endpoint_server import Endpoints
from tests.fakes.model_script import says, says_json
from tests.fakes.model_server import ModelServer
from tests.journeys import scenario
from tests.processes import System

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
KEEP: Final[dict[str, Any]] = {
    "action": "keep",
    "next_run_at": None,
    "interval_ms": None,
    "pause_until": None,
    "reason": "it goes well",
    "confidence": 0.8,
    "recommended_actions": [],
}


class HasUrl(Protocol):
    """Where a model is."""

    @property
    def url(self) -> str: ...


@contextmanager
def running(
    folder: Path, endpoints: Endpoints, model: HasUrl, *, threads: int = 8, **environment: str
) -> Iterator[System]:
    """A beat and a worker whose default agent asks the scripted model about these endpoints."""
    usual = {
        "OPENAI_API_KEY": "key-of-a-test",
        "OPENAI_BASE_URL": model.url,
        "LLM_MODEL": "small",
        "OUTBOUND_ALLOW": "127.0.0.1",
        "SCHEDULER_MAX_CONCURRENT": "50",
    }
    with scenario.running(folder, threads=threads, **{**usual, **environment}) as system:
        for name in NAMES:
            registered.create(
                {"name": name, "method": "GET", "url": endpoints.url(name), "timeout_ms": 120_000},
                owner_id=scenario.owner_id(),
                actor=SYSTEM,
            )
        yield system


def forget(endpoints: Endpoints, model: ModelServer) -> None:
    """A new test begins: nothing is scripted but that all goes well once there is a plan."""
    endpoints.forget()
    model.script.forget()
    model.on("summarise", says("All of it was done."))
    model.on("schedule", says_json(KEEP))


def plan(*steps: dict[str, Any], strategy: str = "dependency", concurrency: int = 5) -> Any:
    return {
        "strategy": strategy,
        "concurrency": concurrency,
        "steps": list(steps),
        "reason": "as the test wants it",
        "confidence": 0.9,
    }


def schedule(**words: Any) -> Schedule:
    config = {"goal": "keep the caches warm", "endpoints": list(NAMES), **words.pop("config", {})}
    return scenario.schedule(task_type="agent", task_config=config, **words)


def run(**words: Any) -> UUID:
    return schedules.trigger(schedule(**words), actor=SYSTEM)


def cycle_of(execution: UUID) -> Cycle:
    return Cycle.objects.get(execution_id=execution)


def ends(execution: UUID) -> dict[str, str]:
    return dict(Step.objects.filter(execution_id=execution).values_list("name", "status"))


def result(done: Execution) -> dict[str, Any]:
    """What an execution has to show."""
    assert isinstance(done.result, dict)
    return done.result
