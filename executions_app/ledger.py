"""Group commit: many claims and outcomes in one statement, each caller answered once durable.

`lifecycle` names the moves; this module writes them. Every statement locks its rows in id order
first (six writers without that made deadlocks at once), moves only rows whose state and lease token
are still the ones seen, and tells the event table in the same transaction. Threads of one process
that arrive together share a commit: the first flushes for all who wait.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from django.db import DataError
from pydantic_core import from_json

from executions_app import events, prepared, statements
from executions_app.database_errors import despite_deadlocks
from executions_app.instants import server_clock
from executions_app.states import ExecutionStatus

MOST_EARLY_SECONDS: Final = 2.0

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's wish to run one queued execution."""

    execution_id: UUID
    worker_id: str
    slice_size: int = 1


class Usage(NamedTuple):
    """What an attempt took of the machine that it ran on: its thread, and the programs it started.

    `peak_memory_kb` is that of its programs, as far as it was seen; without any, of its worker's
    process, since its start.
    `read_kb` and `written_kb` are those of the disk: not what the cache had, nor the network.
    """

    cpu_ms: float
    peak_memory_kb: int
    read_kb: int
    written_kb: int

    @classmethod
    def together(cls, parts: Sequence[Usage]) -> Usage:
        """What several took that make up one; at least one of them."""
        return cls(
            cpu_ms=round(sum(one.cpu_ms for one in parts), 1),
            peak_memory_kb=max(one.peak_memory_kb for one in parts),
            read_kb=sum(one.read_kb for one in parts),
            written_kb=sum(one.written_kb for one in parts),
        )


@dataclass(frozen=True, slots=True)
class Claimed:
    """An execution that this process holds the lease of; not to be begun before `begins_at`.

    `usage` is what its run took, once that is over and was measured; it is stored with its end.
    """

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
    begins_at: float = 0.0  # monotonic
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """A move of one execution out of `running`, fenced by its lease token.

    `duration_ms` is how long it ran, where that is less than the time since its claim;
    `began_after_ms` how long it waited before, for its turn or its instant.
    """

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
    duration_ms: float | None = None
    began_after_ms: float = 0.0
    usage: Usage | None = None


def claim(requests: Sequence[Claim], *, lease_seconds: float) -> list[Claimed | None]:
    """Claim queued executions in one statement; None where the row was not free to take."""
    claims: dict[UUID, Claim] = {}
    for one in requests:
        claims.setdefault(one.execution_id, one)
    sent = time.monotonic()
    cursor = prepared.execute(
        statements.CLAIM,
        [
            prepared.array(claims),
            prepared.array(one.worker_id for one in claims.values()),
            prepared.array(one.slice_size for one in claims.values()),
            lease_seconds,
        ],
    )
    rows = cursor.fetchall()
    received = time.monotonic()
    if rows:
        server_clock.note(rows[-1][-1], sent=sent, received=received)
    taken = {row[0]: _claimed(row, received) for row in rows}
    # The second of two requests for one row in one batch is a duplicate message: it gets nothing.
    return [taken.pop(one.execution_id, None) for one in requests]


def _claimed(row: tuple[Any, ...], received: float) -> Claimed:
    values = list(row[:-1])
    values[4], values[5] = from_json(values[4]), from_json(values[5])
    begins_at = server_clock.when(values[-1])
    # Nothing is sent longer ahead: then PostgreSQL's clock was set back.
    is_ahead = received < begins_at <= received + MOST_EARLY_SECONDS
    values[-1] = begins_at if is_ahead else received
    return Claimed(*values)


def leave(moves: Sequence[Leave]) -> list[bool]:
    """Move executions out of `running` in one statement; False where the lease was lost.

    Of two moves under one token (a heartbeat hands back what its runner just ended) the first wins.
    """
    first: dict[tuple[UUID, UUID], Leave] = {}
    for one in moves:
        first.setdefault((one.execution_id, one.lease_token), one)
    columns = zip(*map(_columns, first.values()), strict=True)
    cursor = prepared.execute(statements.LEAVE, [prepared.array(one) for one in columns])
    moved = {id(first[row[0], row[1]]) for row in cursor.fetchall()}
    return [id(one) in moved for one in moves]


def _columns(move: Leave) -> tuple[object, ...]:
    return (
        move.execution_id,
        move.lease_token,
        move.status.value,
        move.outcome,
        move.result,
        move.result_truncated,
        move.due_at,
        move.attempts_back,
        move.last_error_id,
        move.is_dead_letter,
        move.travels_alone,
        move.duration_ms,
        move.began_after_ms,
        move.usage and json.dumps(move.usage._asdict()),
    )


class GroupCommit(Generic[Request, Answer]):
    """Joins the requests of many threads into one transaction.

    Who submits is answered only after the requests are durable. A batch that the database refuses
    for its data is halved until the bad request is alone, and only that one gets the DataError.
    """

    def __init__(
        self, write: Callable[[Sequence[Request]], list[Answer]], *, most: int = 500
    ) -> None:
        self._write, self._most = write, most
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting[Request, Answer]] = []

    def submit(self, request: Request) -> Answer:
        """Write one request together with whatever else is waiting in this process."""
        (answer,) = self.submit_all([request])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def submit_all(self, requests: Sequence[Request]) -> list[Answer | BaseException]:
        """Write several; the error of one that could not be written is its answer.

        They may be written in more than one commit, so some may be durable where others failed.
        """
        own = [_Waiting[Request, Answer](one) for one in requests]
        with self._guard:
            self._waiting.extend(own)
        with self._turn:
            while not all(one.is_done for one in own):
                with self._guard:
                    batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                self._flush(batch)
        return [one.answer() for one in own]

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


def raise_failures(answers: Sequence[object]) -> None:
    """Raise the first answer that is an error of the database, not of the data."""
    for one in answers:
        if isinstance(one, BaseException) and not isinstance(one, DataError):
            raise one


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

    def answer(self) -> Answer | BaseException:
        if self._error is not None:
            return self._error
        return self._answer  # type: ignore[return-value]  # set by succeed


def durable(write: Callable[[], Answer]) -> Answer:
    """Run one statement, which is a transaction, again after a deadlock; announce its events."""
    answer = despite_deadlocks(write)
    events.announce()
    return answer
