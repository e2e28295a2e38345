"""What can be kept of an answer that stayed invalid, and what was changed for that. Pure.

Only for schedules that are not strict. Nothing is added that the model did not say: steps and
dependencies go, numbers are clamped, and every change is a sentence that people are shown. A step
goes together with those that were to wait for it: they would begin too early. The caller checks
what is left once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar, cast

from agents_app.planning import dependencies
from agents_app.planning.authority import Rights
from agents_app.planning.contracts import (
    MOST_PRIORITY,
    Advice,
    Plan,
    PlanStep,
    Strategy,
    SubTask,
    TaskAnalysis,
)
from agents_app.planning.problems import cut
from agents_app.planning.validation import PlanLimits, step_problems

MOST_NOTES: Final = 100
MOST_TOLD: Final = 500

N = TypeVar("N", PlanStep, SubTask)
R = TypeVar("R", bound=Plan | Advice | TaskAnalysis)
Number = TypeVar("Number", int, float)


def plan(
    said: Plan, *, rights: Rights, limits: PlanLimits, said_ids: Collection[str]
) -> tuple[Plan | None, list[str]]:
    """What may be carried out of `said`, if anything, and what was changed for it.

    `said_ids`: also those of steps that could not be read.
    """
    notes: list[str] = []
    allowed = _allowed(said.steps, rights=rights, notes=notes)
    steps = _holding_together(
        allowed, most=limits.most_steps, said_ids={*said_ids, *_ids(said.steps)}, notes=notes
    )
    if not steps:
        return None, notes
    kept = replace(
        said,
        steps=steps,
        strategy=said.strategy if limits.strategy == "auto" else cast(Strategy, limits.strategy),
        concurrency=_within(said.concurrency, 1, limits.most_concurrency),
        confidence=_within(said.confidence, 0.0, 1.0),
    )
    notes += _changed(said, kept, "strategy", "concurrency", "confidence")
    return kept, notes


def advice(said: Advice) -> tuple[Advice, list[str]]:
    """Advice whose confidence is a number from 0 to 1; an instant or interval is never made up."""
    kept = replace(said, confidence=_within(said.confidence, 0.0, 1.0))
    return kept, _changed(said, kept, "confidence")


def analysis(
    said: TaskAnalysis, *, tools: Collection[str], most_parts: int, said_ids: Collection[str]
) -> tuple[TaskAnalysis, list[str]]:
    """The analysis with the tools that there are, and the parts that hold together."""
    notes: list[str] = []
    ids = {*said_ids, *_ids(said.sub_tasks)}
    parts = _holding_together(said.sub_tasks, most=most_parts, said_ids=ids, notes=notes)
    known = tuple(name for name in said.required_tools if name in tools)
    notes += [
        f"tool {_named(name)} was left out: there is none of this name"
        for name in said.required_tools
        if name not in known
    ]
    return replace(said, sub_tasks=parts, required_tools=known), notes


def annotated(value: R, notes: Sequence[str]) -> R:
    """`value` whose reason says that it is not quite what the model said."""
    if not notes:
        return value
    told = cut("; ".join(notes), MOST_TOLD)
    return replace(value, reason=f"{value.reason} [Changed by the check: {told}]".strip())


def _allowed(steps: Iterable[PlanStep], *, rights: Rights, notes: list[str]) -> list[PlanStep]:
    kept = []
    for said in steps:
        step = replace(said, priority=_within(said.priority, 0, MOST_PRIORITY))
        problem = next(step_problems(step, path="", rights=rights), None)
        if problem is not None:
            notes.append(f"step {_named(step.id)} was left out: {problem.message}")
            continue
        kept.append(step)
        if step.priority != said.priority:
            notes.append(f"priority of step {_named(step.id)} became {step.priority}")
    return kept


def _holding_together(
    nodes: Iterable[N], *, most: int, said_ids: set[str], notes: list[str]
) -> tuple[N, ...]:
    """Those of `nodes` that can be done in some order, at most `most`.

    What depends on something that was said and is gone goes too; what depends on something that
    nobody said, on itself or in a ring loses that dependency.
    """
    kept = _without_dangling(_each_id_once(nodes, notes=notes), said_ids=said_ids, notes=notes)
    clean = [_with_known_dependencies(one, said_ids=said_ids, notes=notes) for one in kept]
    acyclic = _without_rings(clean, notes=notes)
    if len(acyclic) > most:
        notes.append(f"all after the first {most} were left out: no more are allowed")
    return tuple(_without_dangling(acyclic[:most], said_ids=said_ids, notes=notes))


def _each_id_once(nodes: Iterable[N], *, notes: list[str]) -> list[N]:
    listed = list(nodes)
    first = dependencies.first_of_each(listed)
    notes += [
        f"a second {_named(one.id)} was left out" for one in listed if first[one.id] is not one
    ]
    return list(first.values())


def _without_dangling(nodes: list[N], *, said_ids: set[str], notes: list[str]) -> list[N]:
    waiting: dict[str, list[str]] = {}
    for node in nodes:
        for other in node.depends_on:
            waiting.setdefault(other, []).append(node.id)
    gone = said_ids - _ids(nodes)
    open_ = list(gone)
    while open_:
        missing = open_.pop()
        for dependent in waiting.get(missing, []):
            if dependent not in gone:
                gone.add(dependent)
                open_.append(dependent)
                notes.append(f"{_named(dependent)} was left out: it depends on {_named(missing)}")
    return [node for node in nodes if node.id not in gone]


def _with_known_dependencies(node: N, *, said_ids: set[str], notes: list[str]) -> N:
    kept = tuple(one for one in node.depends_on if one in said_ids and one != node.id)
    notes += [
        f"{_named(node.id)} no longer depends on {_named(other)}"
        for other in node.depends_on
        if other not in kept
    ]
    return replace(node, depends_on=kept)


def _without_rings(nodes: Sequence[N], *, notes: list[str]) -> list[N]:
    order = {node.id: place for place, node in enumerate(nodes)}
    cuts = {
        dependencies.to_cut(ring, order=order)
        for ring in dependencies.cycles(dependencies.edges(nodes))
    }
    for name, other in sorted(cuts):
        notes.append(f"{_named(name)} no longer depends on {_named(other)}: it was a ring")
    return [
        replace(
            node,
            depends_on=tuple(one for one in node.depends_on if (node.id, one) not in cuts),
        )
        for node in nodes
    ]


def _ids(nodes: Iterable[N]) -> set[str]:
    return {node.id for node in nodes}


def _within(value: Number, least: Number, most: Number) -> Number:
    return max(least, min(most, value))


def _changed(said: R, kept: R, *names: str) -> list[str]:
    return [
        f"{name} became {getattr(kept, name)!r}"
        for name in names
        if getattr(kept, name) != getattr(said, name)
    ]


def _named(text: str) -> str:
    return repr(cut(text, 60))
