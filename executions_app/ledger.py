"""Group commit: many claims and outcomes in one statement, each caller answered once durable.

`lifecycle` names the moves; this module writes them. Every statement locks its rows in id order
first (six writers without that made deadlocks at once), moves only rows whose state and lease token
are still the ones seen, and tells the event table in the same transaction. Threads of one process
that arrive together share a commit: the first flushes for all who wait.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from django.db import DataError, OperationalError, connection, transaction

from executions_app import events, statements
from executions_app.database_errors import DEADLOCK, sqlstate
from executions_app.states import ExecutionStatus

DEADLOCK_TRIES: Final = 5

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's wish to run one queued execution."""

    execution_id: UUID
    worker_id: str
    slice_size: int = 1


@dataclass(frozen=True, slots=True)
class Claimed:
    """An execution that this process holds the lease of."""

    id: UUID
    number: int
    schedule_id: UUID | None
    owner_id: int
    snapshot: dict[str, Any]
    parameters: dict[str, Any]
    trigger: str
    nominal_at: datetime | None
    attempt: int
    max_attempts: int
    lease_token: UUID
    started_at: datetime
    worker_id: str
    correlation_id: str
    cancel_requested: bool = False

    @property
    def is_last_attempt(self) -> bool:
        return self.attempt >= self.max_attempts


@dataclass(frozen=True, slots=True)
class Leave:
    """A move of one execution out of `running`, fenced by its lease token."""

    execution_id: UUID
    lease_token: UUID
    status: ExecutionStatus
    outcome: str = ""
    result: str | None = None
    result_truncated: bool = False
    due_at: datetime | None = None
    attempts_back: int = 0
    last_error_id: UUID | None = None
    is_dead_letter: bool = False
    travels_alone: bool = False


def claim(requests: Sequence[Claim], *, lease_seconds: float) -> list[Claimed | None]:
    """Claim queued executions in one statement; None where the row was not free to take."""
    claims = {one.execution_id: one for one in requests}
    with connection.cursor() as cursor:
        cursor.execute(
            statements.CLAIM,
            [
                list(claims),
                [one.worker_id for one in claims.values()],
                [one.slice_size for one in claims.values()],
                lease_seconds,
            ],
        )
        taken = {row[0]: _claimed(row) for row in cursor.fetchall()}
    # The second of two requests for one row in one batch is a duplicate message: it gets nothing.
    return [taken.pop(one.execution_id, None) for one in requests]


def _claimed(row: tuple[Any, ...]) -> Claimed:
    values = list(row)
    values[4], values[5] = json.loads(values[4]), json.loads(values[5])
    return Claimed(*values)


def leave(moves: Sequence[Leave]) -> list[bool]:
    """Move executions out of `running` in one statement; False where the lease was lost."""
    columns: list[list[Any]] = [
        [one.execution_id for one in moves],
        [one.lease_token for one in moves],
        [one.status.value for one in moves],
        [one.outcome for one in moves],
        [one.result for one in moves],
        [one.result_truncated for one in moves],
        [one.due_at for one in moves],
        [one.attempts_back for one in moves],
        [one.last_error_id for one in moves],
        [one.is_dead_letter for one in moves],
        [one.travels_alone for one in moves],
    ]
    with connection.cursor() as cursor:
        cursor.execute(statements.LEAVE, columns)
        moved = {row[0] for row in cursor.fetchall()}
    return [one.execution_id in moved for one in moves]


class GroupCommit(Generic[Request, Answer]):
    """Joins the requests of many threads into one transaction.

    `submit` returns only after the request is durable. A batch that the database refuses for its
    data is halved until the bad request is alone, and only that caller gets the DataError.
    """

    def __init__(
        self, write: Callable[[Sequence[Request]], list[Answer]], *, most: int = 500
    ) -> None:
        self._write, self._most = write, most
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting[Request, Answer]] = []

    def submit(self, request: Request) -> Answer:
        """Write one request together with whatever else is waiting in this process."""
        own = _Waiting[Request, Answer](request)
        with self._guard:
            self._waiting.append(own)
        with self._turn:
            while not own.is_done:
                with self._guard:
                    batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                self._flush(batch)
        return own.answer()

    def _flush(self, batch: list[_Waiting[Request, Answer]]) -> None:
        try:
            answers = durable(lambda: self._write([one.request for one in batch]))
        except DataError as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return
            middle = len(batch) // 2
            self._flush(batch[:middle])
            self._flush(batch[middle:])
        except BaseException as error:
            for one in batch:
                one.fail(error)
            if not isinstance(error, Exception):
                raise
        else:
            for one, answer in zip(batch, answers, strict=True):
                one.succeed(answer)


class _Waiting(Generic[Request, Answer]):
    __slots__ = ("_answer", "_error", "is_done", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.is_done = False
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    def succeed(self, answer: Answer) -> None:
        self._answer, self.is_done = answer, True

    def fail(self, error: BaseException) -> None:
        self._error, self.is_done = error, True

    def answer(self) -> Answer:
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]  # set by succeed


def durable(write: Callable[[], Answer]) -> Answer:
    """Run `write` in its own transaction, again after a deadlock; announce its events after."""
    for attempt in range(1, DEADLOCK_TRIES + 1):
        try:
            with transaction.atomic():
                answer = write()
        except OperationalError as error:
            if sqlstate(error) != DEADLOCK or attempt == DEADLOCK_TRIES:
                raise
        else:
            events.announce()
            return answer
    raise AssertionError("unreachable: the last try returns or raises")
