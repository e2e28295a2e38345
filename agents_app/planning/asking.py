"""Asks a model until its answer can be used: check, repair, salvage, or a reason why not.

The door to the model and the mark on a call's row are passed in: nothing here speaks to a network
or a database, and a test asks with a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar
from uuid import UUID

from agents_app.clients.llm_errors import ModelError
from agents_app.clients.llm_question import Answer, Question
from agents_app.planning import repair
from agents_app.planning.contracts import Json
from agents_app.planning.judging import Contract, Judgement
from agents_app.planning.malformed import MalformedResponseError
from agents_app.planning.problems import MalformedClass, Problem, class_of, cut
from errors_app.taxonomy import ErrorClass, HandlerError

T = TypeVar("T")
Ask = Callable[[Question], Answer]
Mark = Callable[[UUID, str, Sequence[str]], object]
SAID_BEFORE: Final = 2
"""So often a model has said the same before it is taken at its word and shown nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How much is done for a usable answer.

    `most_repairs`: MAX_REPAIR_ATTEMPTS, 0 for none. `is_strict`: what stays invalid is not
    salvaged.
    """

    most_repairs: int = 2
    is_strict: bool = False

    def as_json(self) -> Json:
        return {"most_repairs": self.most_repairs, "is_strict": self.is_strict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Generic[T]):
    """A value that can be used, and what it took.

    `call_ids`: of the calls that were answered, in order. `notes`: what was changed or will be;
    `is_salvaged` if that is why it could be used.
    """

    value: T
    call_ids: tuple[UUID, ...]
    repairs: int
    notes: tuple[str, ...] = ()
    is_salvaged: bool = False


def ask_for(
    contract: Contract[T], *, question: Question, ask: Ask, mark: Mark, patience: Patience
) -> Product[T]:
    """What `contract` says of an answer to `question`.

    Raises MalformedResponseError if no answer can be used, what `ask` raises if there is none, and
    whatever ends the execution.
    """
    return _Asking(contract, question=question, ask=ask, mark=mark, patience=patience).product()


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    call_id: UUID | None
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class _Refused:
    text: str
    problems: tuple[Problem, ...]


class _Asking(Generic[T]):
    """One question with its repairs, and the answers that were refused so far."""

    def __init__(
        self,
        contract: Contract[T],
        *,
        question: Question,
        ask: Ask,
        mark: Mark,
        patience: Patience,
    ) -> None:
        self._contract = contract
        self._first = replace(
            question,
            schema=contract.schema,
            schema_name=contract.name,
            grounds={**contract.grounds(), **patience.as_json()},
        )
        self._ask = ask
        self._mark = mark
        self._patience = patience
        self._refused: list[_Refused] = []
        self._call_ids: list[UUID] = []
        self._answers = 0

    def product(self) -> Product[T]:
        question = self._first
        while True:
            try:
                said = self._answer(question)
            except HandlerError as error:
                return self._without_repair(error)
            judged = self._contract.judge(said.text, finish_reason=said.finish_reason)
            if judged.value is not None:
                return self._made_of(judged.value, judged)
            is_last = self._is_last(said.text)
            self._refused.append(_Refused(said.text, judged.problems))
            self._marked(said, judged.problems, is_last=is_last)
            if is_last:
                return self._salvaged_or_raise()
            question = self._repair()

    def _answer(self, question: Question) -> _Said:
        """What the model says; an answer with nothing in it is one too."""
        try:
            answer = self._ask(question)
        except ModelError as error:
            if error.error_class is not ErrorClass.MALFORMED:
                raise
            said = _Said("", error.call_id)
        else:
            said = _Said(answer.text, answer.call_id, answer.finish_reason)
        self._answers += 1
        if said.call_id is not None:
            self._call_ids.append(said.call_id)
        return said

    def _is_last(self, text: str) -> bool:
        """Whether no repair follows: none is left, or two were of no use, word for word."""
        latest = [one.text.strip() for one in self._refused[-SAID_BEFORE:]]
        has_repeated = len(latest) == SAID_BEFORE and set(latest) == {text.strip()}
        return has_repeated or len(self._refused) >= self._patience.most_repairs

    def _marked(self, said: _Said, problems: Sequence[Problem], *, is_last: bool) -> None:
        if said.call_id is None:
            return
        has_failed = is_last and len(self._refused) > 1
        malformed_class = MalformedClass.REPAIR_FAILED if has_failed else class_of(problems)
        told = [f"{one} ({one.malformed_class.value})" for one in problems]
        self._mark(said.call_id, malformed_class.value, told)

    def _repair(self) -> Question:
        latest = self._refused[-1]
        question = repair.question_after(self._first, text=latest.text, problems=latest.problems)
        return replace(question, attempt=self._first.attempt + len(self._refused), grounds=None)

    def _without_repair(self, error: HandlerError) -> Product[T]:
        """The model gave no further answer: what it said before may still do."""
        if self._refused and not self._patience.is_strict and (found := self._salvaged()):
            note = f"no repair was made: {cut(str(error), 200)}"
            return replace(found, notes=(*found.notes, note))
        raise error

    def _salvaged_or_raise(self) -> Product[T]:
        if not self._patience.is_strict and (found := self._salvaged()):
            return found
        latest = self._refused[-1]
        attempts = len(self._refused)
        raise MalformedResponseError(
            MalformedClass.REPAIR_FAILED if attempts > 1 else class_of(latest.problems),
            phase=self._first.phase,
            attempts=attempts,
            problems=latest.problems,
        )

    def _salvaged(self) -> Product[T] | None:
        """The latest answer of which something can be kept."""
        for refused in reversed(self._refused):
            kept = self._contract.salvage(refused.text)
            if kept.value is not None:
                return replace(self._made_of(kept.value, kept), is_salvaged=True)
        return None

    def _made_of(self, value: T, judged: Judgement[T]) -> Product[T]:
        return Product(
            value=value,
            call_ids=tuple(self._call_ids),
            repairs=self._answers - 1,
            notes=judged.notes,
        )
