"""A cycle decided once more from what is stored of it: no model, no endpoint, no token, no write.

Twice: by the rights and limits of then, which says whether the code still reads the answers as it
did, and by those of today, which says what would be decided now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agents_app.agent_config import AgentConfig
from agents_app.models import ModelCall
from agents_app.models_cycles import Phase
from agents_app.planning.judging import Contract, SummaryContract
from agents_app.replay import answers, comparing, deciding, prompting, standards
from agents_app.replay.answers import Verdict
from agents_app.replay.deciding import Decided
from agents_app.replay.prompting import Prompt
from agents_app.replay.recorded import Recorded
from agents_app.replay.standards import Standard


@dataclass(frozen=True, slots=True)
class Checked:
    """One stored answer: what was said to it then, by the rules of then, and by today's."""

    call: ModelCall
    then: Verdict | None
    again: Verdict | None
    today: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """What was decided, and what would be: by the standard of then (`checked`) and of `today`."""

    recorded: Recorded
    decided: Decided
    checked: Decided
    today: Decided
    prompts: tuple[Prompt, ...]
    answers: tuple[Checked, ...]
    rights: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def checked_of_plan(self) -> list[str]:
        return of_plan(self.decided, self.checked)

    @property
    def checked_of_advice(self) -> list[str]:
        return of_advice(self.decided, self.checked)

    @property
    def today_of_plan(self) -> list[str]:
        return of_plan(self.decided, self.today)

    @property
    def today_of_advice(self) -> list[str]:
        return of_advice(self.decided, self.today)

    @property
    def checked_differences(self) -> list[str]:
        return [*self.checked_of_plan, *self.checked_of_advice]

    @property
    def today_differences(self) -> list[str]:
        return [*self.today_of_plan, *self.today_of_advice]


def replay(recorded: Recorded, *, config: AgentConfig) -> Offline:
    """`config`: what the schedule says today."""
    then, today = standards.of_then(recorded), standards.of_today(recorded, config=config)
    return Offline(
        recorded=recorded,
        decided=deciding.stored(recorded),
        checked=deciding.anew(recorded, then),
        today=deciding.anew(recorded, today),
        prompts=tuple(prompting.compared(recorded, config=config)),
        answers=tuple(_checked(recorded, then, today)),
        rights=tuple(comparing.rights(then.rights, today.rights)),
        notes=then.notes,
    )


def of_plan(before: Decided, after: Decided) -> list[str]:
    """What differs in who plans, and in what is called."""
    tiers = [f"tier {after.tier!r} instead of {before.tier!r}"] if after.tier != before.tier else []
    return [*tiers, *comparing.plans(before.plan, after.plan)]


def of_advice(before: Decided, after: Decided) -> list[str]:
    """What differs in when to run next; nothing where nobody can say."""
    return [] if after.unknown else comparing.advices(before.advice, after.advice)


def _checked(recorded: Recorded, then: Standard, today: Standard) -> Iterator[Checked]:
    for call in recorded.calls:
        yield Checked(
            call,
            answers.then(call),
            answers.verdict(call, _contract(call, then)),
            answers.verdict(call, _contract(call, today)),
        )


def _contract(call: ModelCall, standard: Standard) -> Contract[Any]:
    match call.phase:
        case Phase.PLAN:
            return standard.plan_contract
        case Phase.ANALYSE:
            return standard.analysis_contract
        case Phase.SCHEDULE:
            return standard.advice_contract
    return SummaryContract()
