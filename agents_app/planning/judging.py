"""What an answer is worth for each thing a model is asked for: all problems, and what can be kept.

One class for each contract; `asking` asks until one of them is content. Pure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from agents_app.planning import grounds, parsing, reading, room, salvage, schemas, validation
from agents_app.planning.authority import Rights
from agents_app.planning.contracts import Advice, Json, Plan, PlanStep, SubTask, TaskAnalysis
from agents_app.planning.problems import MalformedClass, Problem, bounded, cut
from agents_app.planning.schemas import AdviceAnswer, AnalysisAnswer, Answer, PlanAnswer, StepAnswer
from executions_app.scrub import storable_text

T = TypeVar("T")
V = TypeVar("V", bound=Plan | Advice | TaskAnalysis)
A = TypeVar("A", bound=Answer)
MOST_SUMMARY: Final = 4_000
NOTHING_LEFT: Final = Problem("", "nothing of it can be used", MalformedClass.SEMANTIC_VIOLATION)


@dataclass(frozen=True, slots=True)
class Judgement(Generic[T]):
    """`value` is None exactly if there are problems; `notes` tell people what became of it."""

    value: T | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


class Contract(ABC, Generic[T]):
    """What is asked for. `schema`: what a strict `response_format` takes; None for plain text.

    `answer_tokens`: how long an answer may become.
    """

    name: str
    schema: Json | None = None
    answer_tokens: int = room.ANY_ANSWER

    def grounds(self) -> Json:
        """What answers are checked against, as it is kept with the call."""
        return {}

    @abstractmethod
    def judge(self, text: str, *, finish_reason: str = "") -> Judgement[T]:
        """The value that `text` says, or all that is wrong with it. Never raises."""

    @abstractmethod
    def salvage(self, text: str) -> Judgement[T]:
        """A valid value made of what `text` says, without adding to it, if there is one."""


class Shaped(Contract[V], Generic[A, V]):
    """A contract whose answers are JSON objects of one shape."""

    shape: type[A]
    parts = ""  # the name of its list of objects that depend on each other

    def judge(self, text: str, *, finish_reason: str = "") -> Judgement[V]:
        read = self._read(text, finish_reason=finish_reason)
        if isinstance(read, Problem):
            return Judgement(None, (read,))
        if read.answer is None:
            return Judgement(None, bounded(read.problems))
        value = self.value_of(read.answer)
        further = self.problems_of(value, places=read.places, said_ids=read.said_ids)
        if problems := bounded([*read.problems, *further]):
            return Judgement(None, problems)
        return self._noted(value, self.remarks_on(value))

    def salvage(self, text: str) -> Judgement[V]:
        read = self._read(text)
        if isinstance(read, Problem):
            return Judgement(None, (read,))
        if read.answer is None:
            return Judgement(None, bounded(read.problems))
        value, changes = self.kept_of(self.value_of(read.answer), said_ids=read.said_ids)
        if value is None:
            return Judgement(None, (NOTHING_LEFT,))
        if problems := self.problems_of(value):
            return Judgement(None, bounded(problems))
        return self._noted(value, [*read.notes, *changes, *self.remarks_on(value)])

    @abstractmethod
    def value_of(self, answer: A) -> V: ...

    @abstractmethod
    def problems_of(
        self, value: V, *, places: Sequence[int] = (), said_ids: Collection[str] = ()
    ) -> list[Problem]: ...

    @abstractmethod
    def kept_of(self, value: V, *, said_ids: Collection[str]) -> tuple[V | None, list[str]]: ...

    def remarks_on(self, value: V) -> Sequence[str]:
        """What people are told of a value that is taken as it is."""
        del value
        return ()

    def _read(self, text: str, *, finish_reason: str = "") -> reading.Reading[A] | Problem:
        raw = parsing.parse(text, finish_reason=finish_reason)
        if isinstance(raw, Problem):
            return raw
        return reading.read(raw, as_a=self.shape, parts=self.parts)

    def _noted(self, value: V, notes: Sequence[str]) -> Judgement[V]:
        told = tuple(notes[: salvage.MOST_NOTES])
        return Judgement(salvage.annotated(value, told), (), told)


class PlanContract(Shaped[PlanAnswer, Plan]):
    """Of a plan that names nothing but what `rights` open."""

    name, shape, parts = "plan", PlanAnswer, "steps"

    def __init__(self, *, rights: Rights, limits: validation.PlanLimits) -> None:
        self._rights = rights
        self._limits = limits
        self.schema = schemas.plan_schema([*rights.names("endpoint"), *rights.names("tool")])
        self.answer_tokens = room.of_a_plan(limits.most_steps)

    def grounds(self) -> Json:
        return grounds.of_plan(self._rights, self._limits)

    def value_of(self, answer: PlanAnswer) -> Plan:
        return Plan(
            strategy=answer.strategy,
            concurrency=answer.concurrency,
            steps=tuple(_step(one) for one in answer.steps),
            reason=answer.reason,
            confidence=answer.confidence,
        )

    def problems_of(
        self, value: Plan, *, places: Sequence[int] = (), said_ids: Collection[str] = ()
    ) -> list[Problem]:
        return validation.plan_problems(
            value, rights=self._rights, limits=self._limits, places=places, said_ids=said_ids
        )

    def kept_of(self, value: Plan, *, said_ids: Collection[str]) -> tuple[Plan | None, list[str]]:
        return salvage.plan(value, rights=self._rights, limits=self._limits, said_ids=said_ids)


class AdviceContract(Shaped[AdviceAnswer, Advice]):
    """Of when to run next."""

    name, shape = "advice", AdviceAnswer

    def __init__(self, *, limits: validation.AdviceLimits) -> None:
        self._limits = limits
        self.schema = schemas.advice_schema()

    def grounds(self) -> Json:
        return grounds.of_advice(self._limits)

    def value_of(self, answer: AdviceAnswer) -> Advice:
        action = answer.action
        return Advice(
            action=action,
            next_run_at=answer.next_run_at if action == "next_run_at" else None,
            interval_ms=answer.interval_ms if action == "interval" else None,
            pause_until=answer.pause_until if action == "pause" else None,
            reason=answer.reason,
            confidence=answer.confidence,
            recommended_actions=tuple(answer.recommended_actions),
        )

    def problems_of(
        self, value: Advice, *, places: Sequence[int] = (), said_ids: Collection[str] = ()
    ) -> list[Problem]:
        del places, said_ids
        return validation.advice_problems(value, limits=self._limits)

    def kept_of(
        self, value: Advice, *, said_ids: Collection[str]
    ) -> tuple[Advice | None, list[str]]:
        del said_ids
        return salvage.advice(value)

    def remarks_on(self, value: Advice) -> Sequence[str]:
        return validation.to_be_clamped(value, limits=self._limits)


class AnalysisContract(Shaped[AnalysisAnswer, TaskAnalysis]):
    """Of what a task needs; `tools`: the names of those there are."""

    name, shape, parts = "analysis", AnalysisAnswer, "sub_tasks"

    def __init__(self, *, tools: Sequence[str], most_parts: int) -> None:
        self._tools = frozenset(tools)
        self._most_parts = most_parts
        self.schema = schemas.analysis_schema(tools)

    def grounds(self) -> Json:
        return grounds.of_analysis(list(self._tools), most_parts=self._most_parts)

    def value_of(self, answer: AnalysisAnswer) -> TaskAnalysis:
        return TaskAnalysis(
            needs=tuple(answer.needs),
            complexity=answer.complexity,
            required_tools=tuple(answer.required_tools),
            sub_tasks=tuple(
                SubTask(id=one.id, goal=one.goal, depends_on=tuple(one.depends_on))
                for one in answer.sub_tasks
            ),
            reason=answer.reason,
        )

    def problems_of(
        self, value: TaskAnalysis, *, places: Sequence[int] = (), said_ids: Collection[str] = ()
    ) -> list[Problem]:
        return validation.analysis_problems(
            value,
            tools=self._tools,
            most_parts=self._most_parts,
            places=places,
            said_ids=said_ids,
        )

    def kept_of(
        self, value: TaskAnalysis, *, said_ids: Collection[str]
    ) -> tuple[TaskAnalysis | None, list[str]]:
        return salvage.analysis(
            value, tools=self._tools, most_parts=self._most_parts, said_ids=said_ids
        )


class SummaryContract(Contract[str]):
    """Of a short text, which is only ever shown and told; anything but nothing will do."""

    name = "summary"

    def judge(self, text: str, *, finish_reason: str = "") -> Judgement[str]:
        del finish_reason  # a text that was cut off is a text
        said = cut(storable_text(text[: 2 * MOST_SUMMARY]).strip(), MOST_SUMMARY)
        if not said.strip("\N{REPLACEMENT CHARACTER} \n"):
            return Judgement(
                None, (Problem("", "the answer is empty", MalformedClass.EMPTY_RESPONSE),)
            )
        return Judgement(said)

    def salvage(self, text: str) -> Judgement[str]:
        return self.judge(text)


def _step(answer: StepAnswer) -> PlanStep:
    return PlanStep(
        id=answer.id,
        target=answer.target,
        name=answer.name,
        parameters=answer.parameters_json,
        depends_on=tuple(answer.depends_on),
        priority=answer.priority,
        critical=answer.critical,
        reason=answer.reason,
    )
