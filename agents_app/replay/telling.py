"""A replay in sections of plain sentences, for a terminal and for a page alike, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agents_app.models import ModelCall
from agents_app.planning.contracts import Advice, Plan
from agents_app.replay import answers, comparing
from agents_app.replay.deciding import Decided
from agents_app.replay.offline import Checked, Offline
from agents_app.replay.prompting import Prompt
from agents_app.tiers import WORDS

SAME = "the same"


@dataclass(frozen=True, slots=True)
class Section:
    """One step of a replay: what was looked at, and what came of it."""

    title: str
    lines: tuple[str, ...]


def sections(found: Offline) -> list[Section]:
    """What a person reads, in the order in which a cycle decides."""
    return [
        Section("What the model was asked", tuple(_prompts(found.prompts))),
        Section("What the model answered", tuple(_answers(found.answers))),
        Section("What may be called", tuple(_rights(found))),
        Section("The plan", tuple(_plan(found))),
        Section("When to run next", tuple(_advice(found))),
    ]


def document(found: Offline) -> dict[str, Any]:
    """The same for machines."""
    cycle = found.recorded.cycle
    return {
        "cycle": cycle.id,
        "execution": cycle.execution_id,
        "execution_number": found.recorded.number,
        "schedule": cycle.schedule_id,
        "prompts": [one.as_json() for one in found.prompts],
        "answers": [_answer_as_json(one) for one in found.answers],
        "rights": list(found.rights),
        "decided": decided_as_json(found.decided),
        "checked_again": decided_as_json(found.checked),
        "checked_differences": list(found.checked_differences),
        "today": decided_as_json(found.today),
        "today_differences": list(found.today_differences),
        "notes": list(found.notes),
    }


def decided_as_json(one: Decided) -> dict[str, Any]:
    """A decision of a cycle: tier, plan, and when to run next."""
    return {
        "tier": one.tier,
        "reason": one.reason,
        "notes": list(one.notes),
        "plan": as_json(one.plan),
        "advice": as_json(one.advice),
        "advice_source": one.source,
        "advice_unknown": one.unknown,
    }


def as_json(value: Plan | Advice | None) -> dict[str, Any] | None:
    return None if value is None else dict(value.as_json())


def tier_in_words(tier: str) -> str:
    return WORDS.get(tier, tier)


def _prompts(prompts: Sequence[Prompt]) -> Iterable[str]:
    if not prompts:
        yield "no model was asked"
    for one in prompts:
        yield f"{one.phase}: {one.words}"
        yield from (f"    {line}" for line in one.difference or ())


def _answers(checked: Sequence[Checked]) -> Iterable[str]:
    if not checked:
        yield "no model answered"
    for one in checked:
        yield _answer(one)
        if one.today is not None:
            yield from (f"    {problem}" for problem in one.today.problems)


def _answer(one: Checked) -> str:
    call = one.call
    kind = "repair" if call.is_repair else "answer"
    who = f"{call.phase}, {kind} {call.attempt} of {call.model} ({call.provider})"
    if one.then is None or one.again is None or one.today is None:
        return f"{who}: no answer ({call.failure_class}): {call.failure[:200]}"
    remark = answers.remark(call)
    said = f"then {one.then.words}, checked again {one.again.words}, today {one.today.words}"
    return f"{who}: {said}" + (f" ({remark})" if remark else "")


def _rights(found: Offline) -> Iterable[str]:
    yield from found.rights or ("the same endpoints and tools as then, with the same parameters",)
    yield from found.notes


def _plan(found: Offline) -> Iterable[str]:
    yield f"decided: {tier_in_words(found.decided.tier)}{_why(found.decided)}"
    yield from (f"    {line}" for line in comparing.plan_in_words(found.decided.plan))
    yield from _compared("checked again by the rules of then", found.checked_of_plan)
    yield from _compared("by today's rules", found.today_of_plan)


def _advice(found: Offline) -> Iterable[str]:
    yield f"decided: {comparing.advice_in_words(found.decided.advice)}{_by(found.decided)}"
    for what, one, differences in (
        ("checked again by the rules of then", found.checked, found.checked_of_advice),
        ("by today's rules", found.today, found.today_of_advice),
    ):
        yield from _compared(what, [one.unknown] if one.unknown else differences)


def _compared(what: str, differences: Sequence[str]) -> Iterable[str]:
    if not differences:
        yield f"{what}: {SAME}"
        return
    yield f"{what}:"
    yield from (f"    {one}" for one in differences)


def _why(one: Decided) -> str:
    return f" ({one.reason})" if one.reason else ""


def _by(one: Decided) -> str:
    return f" ({one.source})" if one.source else ""


def _answer_as_json(one: Checked) -> dict[str, Any]:
    call: ModelCall = one.call
    return {
        "id": call.id,
        "phase": call.phase,
        "provider": call.provider,
        "model": call.model,
        "attempt": call.attempt,
        "is_repair": call.is_repair,
        "failure": call.failure,
        "then": one.then and one.then.as_json(),
        "checked_again": one.again and one.again.as_json(),
        "today": one.today and one.today.as_json(),
        "remark": answers.remark(call),
    }
