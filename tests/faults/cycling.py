"""AI schedules of several steps among the work of a fault test, and what must come of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

from executions_app.models import Event, Execution, Step
from executions_app.states import StepStatus
from tests.fakes.endpoint_server import Does, Endpoints
from tests.fakes.model_script import Asked, Reply, plan_step, says, says_json
from tests.fakes.model_server import ModelServer
from tests.journeys import ai
from tests.journeys.ai import KEEP, plan
from tests.processes import System

DIAMOND: Final[Any] = plan(
    plan_step("a", "alpha"), plan_step("b", "beta", "a"), plan_step("c", "gamma", "a"),
    plan_step("d", "delta", "b", "c"),
)  # fmt: skip
LONGEST_WAIT_SECONDS: Final = 110.0
OF_THE_DIAMOND: Final = ("alpha", "beta", "gamma", "delta")
ORDINARY: Final[dict[str, Reply]] = {
    "plan": says_json(DIAMOND),
    "summarise": says("All of it was done."),
    "schedule": says_json(KEEP),
}


def script(endpoints: Endpoints, model: ModelServer) -> None:
    """From now on the model plans the diamond, and all goes well."""
    ai.forget(endpoints, model)
    for phase, reply in ORDINARY.items():
        model.on(phase, reply)


def is_under_way(endpoints: Endpoints) -> bool:
    """Whether a call of a step waits for its answer just now."""
    return len(endpoints.calls()) > len(endpoints.answered())


def hold_next(endpoints: Endpoints, name: str) -> threading.Event:
    """The next call of this endpoint waits until the event is set, and none after it."""
    gate = threading.Event()
    before = [Does()] * len(endpoints.calls(name))
    endpoints.on(name, *before, Does(gate=gate), Does())
    return gate


class Standing(NamedTuple):
    """Three cycles that are held where they stand: amid the plan, the first and the second wave."""

    executions: list[UUID]
    gate: threading.Event


def stand(system: System, endpoints: Endpoints, model: ModelServer) -> Standing:
    """Let three cycles begin and wait at a gate, each in a thread of a worker."""
    script(endpoints, model)
    gate = threading.Event()
    endpoints.on("alpha", Does(gate=gate), Does())
    endpoints.on("gamma", Does(gate=gate), Does())
    executions = []
    for held, name in (("the first wave", "alpha"), ("the second wave", "gamma")):
        executions.append(ai.run())
        system.until(lambda name=name: endpoints.calls(name), what=f"{held} of a cycle runs")  # type: ignore[misc]
    has_come = held_in(model, "plan", gate)
    executions.append(ai.run())
    system.until(has_come.is_set, what="a plan is asked for")
    return Standing(executions, gate)


def held_in(model: ModelServer, phase: str, gate: threading.Event) -> threading.Event:
    """The next question of the phase waits for the gate; the event says that it has come."""
    has_come = threading.Event()

    def waits(_: Asked) -> Reply:
        has_come.set()
        gate.wait(LONGEST_WAIT_SECONDS)
        return ORDINARY[phase]

    model.on(phase, waits, ORDINARY[phase])
    return has_come


def contradictions(endpoints: Endpoints, executions: Collection[UUID]) -> Iterator[str]:
    """Where the endpoints' own ledger and the steps of these executions tell different things.

    No call without a step that was begun for it, none after its step had ended well, and none
    missing.
    """
    since_boot = time.time() - time.monotonic()
    calls: defaultdict[str, list[float]] = defaultdict(list)
    for one in endpoints.calls():
        calls[one.key].append(one.at + since_boot)
    started = Event.objects.filter(execution_id__in=executions, type="step:started")
    begun = Counter(str(data["step"]) for (data,) in started.values_list("data"))
    steps = Step.objects.filter(execution_id__in=executions)
    known = {str(one.id) for one in steps}
    for key in calls.keys() - known:
        yield f"{len(calls[key])} calls with the key {key!r} belong to no step"
    for step in steps:
        yield from _wrong_calls(step, calls[str(step.id)], begun=begun[str(step.id)])


def _wrong_calls(step: Step, calls: Collection[float], *, begun: int) -> Iterator[str]:
    name = f"the step {step.name} of {step.execution_id}"
    if len(calls) > begun:
        yield f"{name} was begun {begun} times and called {len(calls)} times"
    if step.status != StepStatus.COMPLETED:
        return
    assert step.completed_at is not None
    if not calls:
        yield f"{name} is completed and was never called"
    if any(at > step.completed_at.timestamp() for at in calls):
        yield f"{name} was called again after it had ended"


def unfinished(executions: Collection[UUID]) -> Iterator[str]:
    """Executions that did not come to their end, and steps that failed of anything but losses."""
    for one in Execution.objects.filter(id__in=executions).exclude(status="completed"):
        yield f"#{one.number} is {one.status} in attempt {one.attempt}"
    done = [StepStatus.COMPLETED, StepStatus.SKIPPED]
    for step in Step.objects.filter(execution_id__in=executions).exclude(status__in=done):
        if (step.status, step.error_class) != (StepStatus.FAILED, "lost"):
            yield f"the step {step.name} of {step.execution_id} is {step.status}: {step.reason}"
