"""Due work under limits: admitted to its queue, or held back until there is room for it.

Everything runs in one short transaction: the keys are locked in a fixed order, what is queued or
running is counted, and only then is anything admitted; so any number of dispatchers together never
exceed a limit. To end is to make room: nothing is written for it. Work without a limit takes no
lock and costs no statement more.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2s
from itertools import chain
from typing import Final
from uuid import UUID

from config.env import env
from executions_app import holding
from executions_app.holding import Candidate, Line
from executions_app.outbox import Message
from scheduler_app import admission
from scheduler_app.limiting import limits_in_force, rates, turns
from scheduler_app.limiting.limits_in_force import Allowance, InForce

LOCK_SPACE: Final = 0x43414448
LOCKS: Final = 1024  # keys that share one only wait for each other
MOST_LINES: Final = 1_000
LIMIT, RATE = "limit", "rate"
OF_ONE: Final = f"{LIMIT}:schedule:"  # keys of people may contain these words further on
PART_OF_A_BEAT: Final = 0.1  # that looking at what is held may take of it
SHORTEST_REST_SECONDS: Final = 0.02
LONGEST_REST_SECONDS: Final = 0.25

served: Final = turns.Turns(timedelta(seconds=env.low_priority_max_wait_seconds))


@dataclass(slots=True)
class Released:
    """What became of due work: queued executions with the attempts made so far, and held ones.

    `held` are those that were told by what they are held, now for the first time or anew.
    """

    queued: list[tuple[Message, int]] = field(default_factory=list)
    held: int = 0
    looked_at: int = 0

    @property
    def has_changed_any(self) -> bool:
        return bool(self.queued or self.held)

    def add(self, some: Iterable[Candidate]) -> None:
        self.queued += [(one.message(), one.attempt) for one in some]


@dataclass(slots=True)
class Room:
    """How many more each place admits; `tokens` are what is left in the buckets of rates."""

    places: dict[str, int]
    tokens: dict[str, float]

    def debit(self, admitted: Sequence[Candidate], needs: Mapping[UUID, Sequence[str]]) -> None:
        """Take a token for each start from every bucket that it draws from."""
        left: dict[str, float] = {}
        for one in admitted:
            for place in needs[one.id]:
                kind, _, key = place.partition(":")
                if kind == RATE:
                    left[key] = left.get(key, self.tokens[key]) - 1
        rates.debit(left)


def is_limited(
    *, task_type: str, priority: str, limit_key: str, max_concurrent: int | None
) -> bool:
    """True if an execution with these properties must be admitted before it is queued."""
    return max_concurrent is not None or limits_in_force.now().is_over(
        task_type=task_type, queue=priority, limit_key=limit_key
    )


def release(*, limit: int, ids: Sequence[UUID] | None = None) -> Released:
    """In the caller's transaction: queue what is due, or hold it for want of room.

    Nothing passes what waits already for the same room.
    """
    due = holding.release(limits_in_force.now().limited, limit=limit, ids=ids)
    released = Released(looked_at=len(due))
    released.add(one for one in due if not one.is_limited)
    asking = [one for one in due if one.is_limited]
    if asking:
        holding.go_by_the_index()
        needs, room = _needs_and_room(asking, limits_in_force.fresh())
        for place in holding.waited_for(list(room.places)):
            room.places[place] = 0
        choice = _choose(asking, needs, room)
        released.add(choice.admitted)
        released.held = len(choice.refused)
        if choice.refused:
            holding.hold(choice.refused)
    return released


class Held:
    """What waits for room, looked at again every round; one for each dispatcher."""

    def __init__(self) -> None:
        self._after: dict[str, tuple[str, str, str]] = {}
        self.rest_seconds = SHORTEST_REST_SECONDS

    def release(self, *, limit: int) -> Released:
        """In the caller's transaction: admit what there is room for now, up to about `limit`.

        The cost is that of the keys that wait and of the room there is, however many wait.
        """
        began = time.monotonic()
        released = self._release(limit)
        rest = (time.monotonic() - began) / PART_OF_A_BEAT
        self.rest_seconds = min(max(rest, SHORTEST_REST_SECONDS), LONGEST_REST_SECONDS)
        return released

    def _release(self, limit: int) -> Released:
        holding.go_by_the_index()
        waiting = [*self._lines(LIMIT), *self._lines(RATE)]
        if not waiting:
            return Released()
        limits = limits_in_force.fresh()
        wanted = _wanted(waiting, limits, limit=limit)
        asking = _inside_their_windows(holding.take(wanted)) if wanted else []
        released = Released(looked_at=len(asking))
        if asking:
            needs, room = _needs_and_room(asking, limits)
            choice = _choose(asking, needs, room)
            released.add(choice.admitted)
            held_by = {one.id: one.held_by for one in asking}
            elsewhere = {
                id_: place
                for id_, place in choice.refused.items()
                if held_by[id_] not in needs[id_]
            }
            if elsewhere:  # the limit that held them is gone
                holding.hold(elsewhere)
                released.held = len(elsewhere)
        return released

    def _lines(self, kind: str) -> list[Line]:
        """The lines of one kind; when they are very many, the next of them each time."""
        found = holding.lines(kind, most=MOST_LINES, after=self._after.pop(kind, None))
        if len(found) == MOST_LINES:
            last = found[-1]
            self._after[kind] = (last.held_by, last.priority, last.limit_key)
        return found


def _inside_their_windows(taken: Sequence[Candidate]) -> list[Candidate]:
    """Those that may start now; a window may have closed while they waited for room."""
    put_off = admission.put_off(
        {one.id: UUID(one.schedule_id) if one.schedule_id else None for one in taken}
    )
    return [one for one in taken if one.id not in put_off]


def _wanted(waiting: Sequence[Line], limits: InForce, *, limit: int) -> list[tuple[Line, int]]:
    """How many to look at of each line, whose turn it is first; counted without a lock."""
    now = waiting[0].now
    places = _places(waiting, limits, limit=limit)
    by_place: dict[str, list[Line]] = defaultdict(list)
    for line in sorted(waiting, key=lambda one: (served.rank(one, now=now), served.since(one))):
        by_place[line.held_by].append(line)
    wanted: list[tuple[Line, int]] = []
    for place, its_lines in by_place.items():
        room = min(places[place], limit)
        if room > 0:
            each = min(room, max(1, limit // len(its_lines)))
            wanted += [(line, each) for line in its_lines[:room]]
    return wanted


def _places(waiting: Sequence[Line], limits: InForce, *, limit: int) -> dict[str, int]:
    names = {line.held_by for line in waiting}
    of_schedules = [one.removeprefix(OF_ONE) for one in names if one.startswith(OF_ONE)]
    own = limits_in_force.own_limits(of_schedules)
    allowances = []
    for name in names:
        key = name.partition(":")[2]
        kind, _, value = key.partition(":")
        if kind == "schedule" and value in own:
            allowances.append(Allowance(key, own[value]))
        elif (found := limits.named(key)) is not None:
            allowances.append(found)
    room = _room(allowances).places
    return {name: room.get(name, limit) for name in names}


def _needs_and_room(
    asking: Sequence[Candidate], limits: InForce
) -> tuple[dict[UUID, list[str]], Room]:
    """What each needs room in, and the room there is, locked until the transaction ends."""
    own = limits_in_force.own_limits(list({one.schedule_id for one in asking if one.schedule_id}))
    over = {one.id: limits.over(one, own=own.get(one.schedule_id or "")) for one in asking}
    allowances = {one.key: one for some in over.values() for one in some}
    numbers = {_lock_number(key) for key in allowances}
    if numbers:
        holding.lock(LOCK_SPACE, sorted(numbers))
    needs = {id_: list(chain.from_iterable(map(_places_of, some))) for id_, some in over.items()}
    return needs, _room(list(allowances.values()))


def _lock_number(key: str) -> int:
    return int.from_bytes(blake2s(key.encode(), digest_size=4).digest()) % LOCKS


def _places_of(one: Allowance) -> list[str]:
    found = [] if one.most is None else [f"{LIMIT}:{one.key}"]
    return found if one.rate is None else [*found, f"{RATE}:{one.key}"]


def _room(allowances: Sequence[Allowance]) -> Room:
    places: dict[str, int] = {}
    by_kind: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for one in allowances:
        if one.most is not None:
            kind, _, value = one.key.partition(":")
            by_kind[kind][one.key] = (value, one.most)
    for kind, keys in by_kind.items():
        active = holding.active(kind, keys)
        places |= {f"{LIMIT}:{key}": most - active[key] for key, (_, most) in keys.items()}
    limited = {one.key: one.rate for one in allowances if one.rate is not None}
    tokens = rates.tokens(limited) if limited else {}
    places |= {f"{RATE}:{key}": rates.whole(left) for key, left in tokens.items()}
    return Room(places, tokens)


def _choose(
    asking: Sequence[Candidate], needs: Mapping[UUID, Sequence[str]], room: Room
) -> turns.Choice[Candidate]:
    choice = turns.choose(asking, needs=needs, room=room.places, turns=served, now=asking[0].now)
    if choice.admitted:
        holding.admit([one.id for one in choice.admitted])
        room.debit(choice.admitted, needs)
    return choice
