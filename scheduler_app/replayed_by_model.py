"""A replay of a cycle with another model: what it decides, and what the limits leave of that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from agents_app import connections
from agents_app.models import Cycle, Provider
from agents_app.replay import asking_anew, comparing, deciding, offline, recorded, standards
from agents_app.replay.asking_anew import Anew
from agents_app.replay.deciding import Decided
from agents_app.replay.recorded import Recorded
from agents_app.replay.telling import Section, decided_as_json
from executions_app import audit, clock
from executions_app.audit import Actor
from scheduler_app import replayed
from scheduler_app.replayed import Weighed


@dataclass(frozen=True, slots=True, kw_only=True)
class ByModel:
    """What was decided, and what another model decides, with what it took to ask it."""

    recorded: Recorded
    decided: Decided
    anew: Anew
    limits_then: Weighed | None
    limits_today: Weighed | None

    @property
    def plan_differences(self) -> list[str]:
        return offline.of_plan(self.decided, self.anew.decided)

    @property
    def advice_differences(self) -> list[str]:
        return offline.of_advice(self.decided, self.anew.decided)

    @property
    def differences(self) -> list[str]:
        limits = replayed.differences(self.limits_then, self.limits_today)
        return [*self.plan_differences, *self.advice_differences, *limits]

    @property
    def sections(self) -> list[Section]:
        return [
            Section("What was decided", tuple(_shown(self.decided, self.limits_then))),
            Section(
                f"What {self.anew.model} ({self.anew.provider}) decides",
                tuple(_shown(self.anew.decided, self.limits_today)),
            ),
            Section("What differs", tuple(self.differences or ["nothing"])),
            Section("What could not be called today", self.anew.today or ("nothing of it",)),
            Section(
                "What it took",
                (f"{self.anew.tokens} tokens, {self.anew.usd:f} USD in the budgets",),
            ),
        ]

    def document(self) -> dict[str, Any]:
        """The same for machines."""
        cycle = self.recorded.cycle
        return {
            "cycle": cycle.id,
            "execution": cycle.execution_id,
            "execution_number": self.recorded.number,
            "schedule": cycle.schedule_id,
            "provider": self.anew.provider,
            "model": self.anew.model,
            "tokens": self.anew.tokens,
            "cost_usd": self.anew.usd,
            "decided": decided_as_json(self.decided),
            "by_model": decided_as_json(self.anew.decided),
            "limits_then": self.limits_then and self.limits_then.as_json(),
            "limits_today": self.limits_today and self.limits_today.as_json(),
            "problems_today": list(self.anew.today),
            "differences": self.differences,
            "is_same": not self.differences,
        }


def ask(cycle: Cycle, *, provider: Provider, model: str, actor: Actor) -> ByModel:
    """Raises NothingToReplay, and ModelError or BudgetSpent if the model cannot be asked."""
    known = recorded.of_cycle(cycle)
    schedule = replayed.schedule_of(cycle)
    config, _ = replayed.config_of_today(known, schedule)
    then, today = standards.of_then(known), standards.of_today(known, config=config)
    limits_then = replayed.weighed_then(cycle)
    connections.let_go()
    anew = asking_anew.ask(known, provider=provider, model=model, then=then, today=today)
    _record(cycle, anew, actor=actor)
    return ByModel(
        recorded=known,
        decided=deciding.stored(known),
        anew=anew,
        limits_then=limits_then,
        limits_today=replayed.weighed(known, anew.decided, schedule=schedule, config=config),
    )


def _record(cycle: Cycle, anew: Anew, *, actor: Actor) -> None:
    told = {
        "provider": anew.provider,
        "model": anew.model,
        "tokens": anew.tokens,
        "usd": str(anew.usd),
    }
    with transaction.atomic():
        audit.record(
            actor,
            "cycle.replayed",
            object_type="cycle",
            object_id=cycle.id,
            now=clock.now(),
            after=told,
        )


def _shown(decided: Decided, limits: Weighed | None) -> Iterable[str]:
    yield from comparing.plan_in_words(decided.plan)
    if decided.reason:
        yield decided.reason
    yield f"next run: {decided.unknown or comparing.advice_in_words(decided.advice)}"
    if limits is not None:
        yield f"within the limits: {limits.words}"
