"""Stories: cycles that are begun together, each with an agent whose model says what it wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from agents_app.models import Cycle, ModelCall, Provider
from agents_app.objects import agents, providers
from agents_app.objects import endpoints as registered
from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.models import Schedule
from tests.fakes.endpoint_server import Does, Endpoints
from tests.fakes.model_script import Answer
from tests.fakes.model_server import ModelServer
from tests.journeys import ai, scenario
from tests.processes import System

PARAMETER: Final = "told"
HOUR: Final = timedelta(hours=1)
SOON: Final = (1, 10, 60)  # seconds; more only where the ones before have not sufficed
PATIENCE_SECONDS: Final = 180.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Story:
    """One cycle: what its model says in each phase, and what its schedule asks for.

    `name` is that of its provider, its agent and its model. The last word of a phase is said again
    and again; in a phase without words all goes well. `stands_in` is what another provider plans.
    `registers` and `does`: its own endpoints, as they are registered and what they answer.
    `is_hourly`: it fires once by itself, now, and is due again in an hour; else it is triggered.
    """

    name: str
    plan: Sequence[Answer] = ()
    summarise: Sequence[Answer] = ()
    schedule: Sequence[Answer] = ()
    stands_in: Sequence[Answer] = ()
    endpoints: Sequence[str] = ("alpha", "beta")
    registers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    does: Mapping[str, Sequence[Does]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, Any] = field(default_factory=dict)
    is_hourly: bool = False
    has_address: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Around:
    """What all stories of a module have around them."""

    system: System
    endpoints: Endpoints
    model: ModelServer


@dataclass(frozen=True)
class Told:
    """A story that has begun: its rows, what its model was asked, and what it has called."""

    story: Story
    schedule: Schedule
    around: Around
    triggered: UUID | None

    @property
    def execution_id(self) -> UUID:
        if self.triggered is not None:
            return self.triggered
        fired = Execution.objects.filter(schedule_id=self.schedule.id).values_list("id", flat=True)
        found: UUID = self.around.system.until(
            fired.first, what=f"{self.story} fires", seconds=PATIENCE_SECONDS
        )
        return found

    def ends(self, status: str = "completed") -> Execution:
        """Wait until it has ended as it should."""
        return scenario.reaches(
            self.around.system, self.execution_id, status, seconds=PATIENCE_SECONDS
        )

    def again(self) -> Told:
        """Another run of the same schedule."""
        triggered = schedules.trigger(self.schedule, actor=SYSTEM)
        return Told(self.story, self.schedule, self.around, triggered)

    @property
    def cycle(self) -> Cycle:
        return ai.cycle_of(self.execution_id)

    def calls(self, phase: str | None = None) -> list[ModelCall]:
        """The rows of what its model was asked, in their order."""
        rows = ModelCall.objects.filter(execution_id=self.execution_id).order_by("id")
        return list(rows if phase is None else rows.filter(phase=phase))

    def asked(self, phase: str) -> list[Any]:
        """The requests that its model got, in their order; of all its runs."""
        return list(self.around.model.asked(phase, model=self.story.name))

    @property
    def called(self) -> list[str]:
        """The endpoints that it has called, in their order, as they know it."""
        made = self.around.endpoints.calls()
        return [one.name for one in made if one.request_id == str(self.execution_id)]


def tells(*stories: Story) -> pytest.MarkDecorator:
    """The test is told once for each of these."""
    return pytest.mark.parametrize(PARAMETER, stories, indirect=True, ids=str)


def told_in(items: Iterable[pytest.Item], *, module: Any) -> dict[str, Story]:
    """The stories of a module's tests, as far as these are to run."""
    found = {}
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if PARAMETER in parameters and getattr(item, "module", None) is module:
            found[str(parameters[PARAMETER])] = parameters[PARAMETER]
    return found


def begin(story: Story, around: Around) -> Told:
    """Set up what a story needs, and let it begin."""
    _script(story, around.model)
    _register(story, around.endpoints)
    _hire(story, url=around.model.url)
    config = {"agent": story.name, "endpoints": [*story.endpoints], **story.config}
    make = _hourly if story.is_hourly else ai.schedule
    own = make(config=config, name=story.name)
    triggered = None if story.is_hourly else schedules.trigger(own, actor=SYSTEM)
    return Told(story, own, around, triggered)


def _script(story: Story, model: ModelServer) -> None:
    said = {"plan": story.plan, "summarise": story.summarise, "schedule": story.schedule}
    for phase, replies in said.items():
        if replies:
            model.on(phase, *replies, model=story.name)
    if story.stands_in:
        model.on("plan", *story.stands_in, model=_stand_in(story))


def _register(story: Story, endpoints: Endpoints) -> None:
    for name in {**story.registers, **story.does}:
        endpoints.on(name, *story.does.get(name, [Does()]))
        words = {"name": name, "method": "GET", "url": endpoints.url(name)}
        registered.create(
            {**words, **story.registers.get(name, {})}, owner_id=scenario.owner_id(), actor=SYSTEM
        )


def _hire(story: Story, *, url: str) -> None:
    other = _provider(_stand_in(story), url=url) if story.stands_in else None
    provider = _provider(
        story.name,
        url=url if story.has_address else "",
        prices=story.prices,
        fallback_provider=other and str(other.id),
    )
    agents.create({"name": story.name, "provider": str(provider.id)}, actor=SYSTEM)


def _provider(
    name: str, *, url: str, prices: Mapping[str, Any] | None = None, **words: Any
) -> Provider:
    offered = [{"name": name, **(prices or {})}]
    return providers.create(
        {"name": name, "base_url": url, "models": offered, **words}, actor=SYSTEM
    )


def _stand_in(story: Story) -> str:
    return f"{story.name}-stand-in"


def _hourly(**words: Any) -> Schedule:
    """Due once in a moment, however long it takes to make it, and then in an hour."""
    for seconds in SOON:
        start_at = clock.now() + timedelta(seconds=seconds)
        own = ai.schedule(**scenario.every(HOUR.total_seconds(), start_at=start_at), **words)
        if own.next_run_at == start_at:
            return own
        schedules.delete(own.id, actor=SYSTEM)
    raise AssertionError("it took too long to make it")
