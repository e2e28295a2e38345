"""Cycles that are carried out by hand: steps that wait for the test, messages that it delivers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from pydantic import JsonValue

from agents_app import tools
from agents_app.cycle import begin, going_on, holder, rows, running
from agents_app.models import Cycle, CycleStage, Tier
from agents_app.tools import registry
from config.celery import app
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids, lifecycle, steps
from executions_app.models import Event, Execution, Step
from tests.agents_app.agents import make_agent
from tests.factories import ExecutionFactory

NAMES = tuple("abcdefghij")
PATIENCE_SECONDS = 20
MOMENT_SECONDS = 0.02
app.set_current()  # what a worker would be told goes to the Redis of the tests


class Calls:
    """What the steps of a test have called so far; one whose gate is shut stays at its call."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.failing: set[str] = set()
        self.before: Callable[[], object] = lambda: None  # what every call does first
        self._gates: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def shut(self, *names: str) -> None:
        """The calls of these do not end before `open`, or before they are told to stop."""
        self._gates |= {name: threading.Event() for name in names}

    def open(self, *names: str) -> None:
        for name in names or tuple(self._gates):
            self._gates[name].set()

    def doing(self, name: str) -> Callable[[Mapping[str, Any], tools.ToolContext], JsonValue]:
        """The tool of a name."""

        def act(_: Mapping[str, Any], context: tools.ToolContext) -> JsonValue:
            self.begun.append(name)
            self.before()
            while name in self._gates and not self._gates[name].wait(MOMENT_SECONDS):
                context.check()
            if name in self.failing:
                raise HandlerError(f"{name} fails", error_class=ErrorClass.PERMANENT)
            return {"did": name}

        return act

    def apart(self, work: Callable[[], object]) -> threading.Thread:
        """Carry something out in a thread of its own, as another worker would."""

        def run() -> None:
            try:
                work()
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()
        return thread

    def begin(self, cycle: Cycle, *names: str) -> None:
        """Other workers take these steps; answers once all of them are at their calls."""
        for name in names:
            step = step_of(cycle, name)
            self.apart(lambda id_=step.id: running.run_step(cycle.id, id_))  # type: ignore[misc]
        until(lambda: set(names) <= set(self.begun), what=f"{names} have begun")

    def end(self) -> None:
        """Nothing of the test goes on."""
        self.open()
        for one in self._threads:
            one.join(PATIENCE_SECONDS)
        assert not any(one.is_alive() for one in self._threads)


@contextmanager
def called() -> Iterator[Calls]:
    """Tools by all names, for the block."""
    calls = Calls()
    for name in NAMES:
        make = tools.tool(name, description=f"does {name}", schema={"type": "object"})
        registry.register(make(calls.doing(name)))
    try:
        yield calls
    finally:
        try:
            calls.end()
        finally:
            for name in NAMES:
                registry._registered.pop(name, None)


@pytest.fixture
def calls() -> Iterator[Calls]:
    with called() as made:
        yield made


def queued(**config: Any) -> UUID:
    """An execution of an agent that may use all tools."""
    snapshot = {
        "name": "warm",
        "task_type": "agent",
        "task_config": {"goal": "keep it warm", "tools": list(NAMES), **config},
        "timeout_ms": 60_000,
        "retry_policy": {"max_retries": 3},
    }
    return ExecutionFactory.create(snapshot=snapshot).id


def begun(execution_id: UUID) -> Cycle:
    """A worker claims it, and a cycle begins."""
    (held,) = lifecycle.claim([execution_id], worker_id="a worker")
    begin.begin(held, holder.config_of(held))
    return Cycle.objects.get(execution_id=execution_id)


def executing(*waves: Sequence[str], concurrency: int = 5, **needs: str) -> Cycle:
    """A cycle whose plan is made: these steps, wave by wave; `needs`: who waits for whom."""
    make_agent("warmer", tools=list(NAMES))
    cycle = begun(queued())
    names = [name for wave in waves for name in wave]
    id_of = dict(zip(names, ids.stream(clock.now()), strict=False))
    steps.plan(
        cycle.execution_id,
        [
            steps.NewStep(
                id=id_of[name],
                position=names.index(name),
                wave=nth,
                name=name,
                config={"target": "tool", "name": name, "parameters": {}},
                depends_on=[id_of[needs[name]]] if name in needs else [],
            )
            for nth, wave in enumerate(waves)
            for name in wave
        ],
    )
    rows.move(cycle, tier=Tier.DETERMINISTIC, stage=CycleStage.EXECUTE, concurrency=concurrency)
    going_on.look(cycle.id)
    return stored(cycle)


def stored(cycle: Cycle) -> Cycle:
    return Cycle.objects.get(id=cycle.id)


def execution_of(cycle: Cycle) -> Execution:
    return Execution.objects.get(id=cycle.execution_id)


def step_of(cycle: Cycle, name: str) -> Step:
    return Step.objects.get(execution_id=cycle.execution_id, name=name)


def ends(cycle: Cycle) -> dict[str, str]:
    """The steps by name, in the order of the plan, with where they stand."""
    found = Step.objects.filter(execution_id=cycle.execution_id).order_by("position")
    return dict(found.values_list("name", "status"))


def carry_out(cycle: Cycle, *names: str) -> None:
    """One message of each step is delivered, one after the other."""
    for name in names:
        running.run_step(cycle.id, step_of(cycle, name).id)


def told(cycle: Cycle, type_: str) -> list[Event]:
    """The events of a type, in their order."""
    found = Event.objects.filter(execution_id=cycle.execution_id, type=type_)
    return list(found.order_by("xid", "id"))


def percents(cycle: Cycle) -> list[int]:
    return [one.data["percent"] for one in told(cycle, "execution:progress")]


def until(condition: Callable[[], object], *, what: str) -> None:
    """Wait until it is so; fails when it takes too long."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends_at, f"still not: {what}"
        threading.Event().wait(MOMENT_SECONDS)
