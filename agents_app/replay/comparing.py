"""How two decisions of a cycle differ, in sentences for people who know neither. Pure.

Steps are told apart by what they call, not by the ids that a model has given them; reasons and
confidence are words and do not count as a difference.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agents_app.planning.authority import Called, Rights
from agents_app.planning.contracts import Advice, Plan, PlanStep, written
from agents_app.planning.problems import cut

MOST_SHOWN: Final = 200
Place = tuple[str, str, int]  # target, name, and which of its calls


def plans(before: Plan | None, after: Plan | None) -> list[str]:
    """What `after` does otherwise than `before`; empty if nothing."""
    if before is None or after is None:
        if before is after:
            return []
        return [
            "there is no plan, and there was one" if before else "there is a plan: there was none"
        ]
    return [*_calls(before, after), *_manner(before, after)]


def advices(before: Advice | None, after: Advice | None) -> list[str]:
    """The same of when to run next."""
    said, now_said = advice_in_words(before), advice_in_words(after)
    return [] if said == now_said else [f"next run: {now_said}, instead of {said}"]


def rights(before: Rights, after: Rights) -> list[str]:
    """What may not be called any more, and what may be by now."""
    gone = [one for one in before.open if one not in after.open]
    fresh = [one for one in after.open if one not in before.open]
    changed = [one for one in before.open if _has_changed(one, before, after)]
    return [
        *(f"{_named(one)} {after.withheld.get(one, 'does not exist any more')}" for one in gone),
        *(f"{_named(one)} may be called by now" for one in fresh),
        *(f"{_named(one)} takes other parameters by now" for one in changed),
    ]


def advice_in_words(advice: Advice | None) -> str:
    """When to run next, on one line."""
    if advice is None:
        return "no advice"
    match advice.action:
        case "interval":
            return f"{advice.interval_ms} ms after this one"
        case "next_run_at" if advice.next_run_at is not None:
            return f"at {written(advice.next_run_at)}"
        case "pause" if advice.pause_until is not None:
            return f"a pause until {written(advice.pause_until)}"
    return "by the schedule's own rule"


def plan_in_words(plan: Plan | None) -> list[str]:
    """The steps of a plan, a line each."""
    if plan is None:
        return ["nothing is called"]
    names = {step.id: step.name for step in plan.steps}
    return [_step_in_words(step, names) for step in plan.steps]


def _step_in_words(step: PlanStep, names: Mapping[str, str]) -> str:
    after = ", ".join(names.get(one, one) for one in step.depends_on)
    what = f"with {_shown(step.parameters)}" if step.parameters else "without parameters"
    said = f"{_named((step.target, step.name))} {what}"
    return said + (f" after {after}" if after else "") + (" (critical)" if step.critical else "")


def _calls(before: Plan, after: Plan) -> Iterator[str]:
    old, new = _by_place(before.steps), _by_place(after.steps)
    for place in old:
        if place not in new:
            yield f"{_at(place)} is not called"
    for place, step in new.items():
        if place not in old:
            yield f"{_at(place)} is called as well, with {_shown(step.parameters)}"
        else:
            yield from _one_call(place, old[place], step, before=old, after=new)
    is_in_turn = before.strategy == after.strategy == "sequential"
    if is_in_turn and [one for one in old if one in new] != [one for one in new if one in old]:
        yield "the order of the calls is another"


def _one_call(
    place: Place,
    old: PlanStep,
    new: PlanStep,
    *,
    before: Mapping[Place, PlanStep],
    after: Mapping[Place, PlanStep],
) -> Iterator[str]:
    said = _at(place)
    if old.parameters != new.parameters:
        yield f"{said} is called with {_shown(new.parameters)} instead of {_shown(old.parameters)}"
    was_after, is_after = _waits_for(old, before), _waits_for(new, after)
    if was_after != is_after:
        yield f"{said} waits for {_all_of(is_after)} instead of {_all_of(was_after)}"
    if old.critical != new.critical:
        yield f"{said} is {'critical' if new.critical else 'not critical any more'}"
    if old.priority != new.priority:
        yield f"{said} has the priority {new.priority} instead of {old.priority}"


def _manner(before: Plan, after: Plan) -> Iterator[str]:
    if before.strategy != after.strategy:
        yield f"the strategy is {after.strategy} instead of {before.strategy}"
    if before.concurrency != after.concurrency:
        yield f"at most {after.concurrency} calls at once instead of {before.concurrency}"


def _by_place(steps: Sequence[PlanStep]) -> dict[Place, PlanStep]:
    seen: Counter[Called] = Counter()
    found: dict[Place, PlanStep] = {}
    for step in steps:
        called: Called = (step.target, step.name)
        seen[called] += 1
        found[(*called, seen[called])] = step
    return found


def _waits_for(step: PlanStep, steps: Mapping[Place, PlanStep]) -> frozenset[Place]:
    place_of = {one.id: place for place, one in steps.items()}
    return frozenset(place_of[one] for one in step.depends_on if one in place_of)


def _all_of(places: frozenset[Place]) -> str:
    return ", ".join(_at(one) for one in sorted(places)) or "nothing"


def _at(place: Place) -> str:
    target, name, number = place
    again = f" (call {number})" if number > 1 else ""
    return f"{target} {cut(name, 60)!r}{again}"


def _named(called: Called) -> str:
    return f"{called[0]} {cut(called[1], 60)!r}"


def _has_changed(called: Called, before: Rights, after: Rights) -> bool:
    is_open = called in after.open
    return is_open and dict(before.open[called].schema) != dict(after.open[called].schema)


def _shown(parameters: Mapping[str, object]) -> str:
    return cut(json.dumps(dict(parameters), sort_keys=True, ensure_ascii=False), MOST_SHOWN)
