"""One piece of work at a time: an execution of a key that is taken is a duplicate, or takes over.

The row of the key in `unique_works` is the lock: whoever comes second waits for the transaction of
the first, and then sees what it made. Keys belong to an owner, not to a schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from executions_app import holding, prepared, uniqueness
from scheduler_app import admission
from scheduler_app.models import UniqueMode
from scheduler_app.windows import Openings

# A wait that every new call prolongs ends at last.
LONGEST_DEBOUNCE: Final = 10  # times `for_ms`, from the first call
TAKE: Final = """
INSERT INTO unique_works AS w (id, owner_id, key, execution_id, until, created_at)
VALUES (cadenza_uuid7(), %s, %s, %s, %s, now())
ON CONFLICT (owner_id, key) DO UPDATE SET key = excluded.key
RETURNING id, execution_id, until, created_at
"""
HAND_ON: Final = """
UPDATE unique_works SET execution_id = %s, until = %s, created_at = now() WHERE id = %s
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """An execution that is to be made, and how its key is to be kept."""

    execution_id: UUID
    owner_id: int
    key: str
    mode: UniqueMode
    for_ms: int | None = None
    parameters: Mapping[str, Any] | None = None
    """What one that waits is given in place of its own; None leaves it as it is."""
    openings: Openings | None = None
    """When it may start, if it is put off; None is always."""

    @property
    def length(self) -> timedelta:
        return timedelta(milliseconds=self.for_ms or 0)

    def opening(self, at: datetime) -> datetime:
        """The first instant from this on at which it may start, if there is ever one."""
        return (self.openings and self.openings.next_opening(at)) or at


@dataclass(frozen=True, slots=True)
class Granted:
    """The wish comes true: it is due then (None: at once), held by that (empty: by nothing)."""

    execution_id: UUID
    due_at: datetime | None = None
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The work is there already: no execution is to be made."""

    execution_id: UUID


def enter(wish: Wish, *, now: datetime) -> Granted | Duplicate:
    """In the transaction that makes the execution, before it does, with its schedule locked.

    `while_active` and `for_time` answer the execution that has the key. `debounce` gives the one
    that waits these parameters and puts it off, at most 10 times as long as `for_ms`, and then to
    when it may start. `replace` ends what has not started, and waits for what runs and was asked to
    stop.
    """
    until = now + wish.length if wish.mode is UniqueMode.FOR_TIME else None
    taken = prepared.execute(TAKE, [wish.owner_id, wish.key, wish.execution_id, until]).fetchone()
    assert taken is not None
    row_id, holder, kept_until, since = taken
    if holder != wish.execution_id:
        if _keeps(holder, kept_until, since, wish, now=now):
            return Duplicate(holder)
        prepared.execute(HAND_ON, [wish.execution_id, until, row_id])
    if wish.mode is UniqueMode.DEBOUNCE:
        return Granted(wish.execution_id, due_at=wish.opening(now + wish.length))
    if wish.mode is UniqueMode.REPLACE and uniqueness.supersede(
        wish.key, owner_id=wish.owner_id, by=wish.execution_id
    ):
        return Granted(wish.execution_id, held_by=uniqueness.held_by(wish.key))
    return Granted(wish.execution_id)


def enter_all(wishes: Sequence[Wish], *, now: datetime) -> dict[UUID, Granted | Duplicate]:
    """The same for several at once, in an order that lets nobody wait for each other.

    Of several wishes for one key the first counts, and the others are its duplicates.
    """
    answers: dict[UUID, Granted | Duplicate] = {}
    of_key: dict[tuple[int, str], UUID] = {}
    for one in sorted(wishes, key=lambda one: (one.owner_id, one.key)):
        key = (one.owner_id, one.key)
        if key in of_key:
            answers[one.execution_id] = Duplicate(of_key[key])
            continue
        answer = answers[one.execution_id] = enter(one, now=now)
        of_key[key] = answer.execution_id
    return answers


def _keeps(
    holder: UUID, until: datetime | None, since: datetime, wish: Wish, *, now: datetime
) -> bool:
    """Whether the execution that has the key keeps it from this one."""
    match wish.mode:
        case UniqueMode.FOR_TIME if until is not None:
            return until > now
        case UniqueMode.REPLACE:
            return False
        case UniqueMode.DEBOUNCE:
            due_at = min(now + wish.length, since + LONGEST_DEBOUNCE * wish.length)
            due_at = wish.opening(due_at)
            return uniqueness.postpone(holder, due_at=due_at, parameters=wish.parameters)
        case _:
            return uniqueness.is_active(holder)


class Waiting:
    """What waits for others of its key to end; one for each beat.

    Of very many keys the next ones are looked at each time, and then the first again.
    """

    def __init__(self) -> None:
        self._after: tuple[str, str, str] | None = None

    @property
    def has_more(self) -> bool:
        """True if there are keys that were not looked at since the first."""
        return self._after is not None

    def release(self, *, limit: int) -> int:
        """Let go what waits for nothing any more; answers how many.

        One whose window is closed by now becomes due when it opens. While nothing waits this is
        one statement outside of a transaction.
        """
        waiting = holding.lines("unique", most=limit, after=self._after)
        last = waiting[-1] if len(waiting) == limit else None
        self._after = (last.held_by, last.priority, last.limit_key) if last else None
        if not waiting:
            return 0
        with transaction.atomic():
            free = uniqueness.let_go([one.held_by for one in waiting])
            admission.put_off(free)
        return len(free)


def release(*, limit: int) -> int:
    """The same of the first keys, for who is no beat."""
    return Waiting().release(limit=limit)
