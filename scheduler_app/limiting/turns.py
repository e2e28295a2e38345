"""Whose turn it is when there is less room than work: pure, from who asks to who is admitted.

Priority comes first, and `low` that has waited too long counts as `high`. Within a priority the
keys take turns: the key goes first that was served longest ago, or not since its oldest execution
came due; so a key with ten thousand waiting gets no more turns than one with a single one.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

from executions_app.states import Priority

RANKS: Final = {str(one): rank for rank, one in enumerate(Priority)}
AGED: Final = RANKS[Priority.HIGH]
INSTANT: Final = timedelta(microseconds=1)
NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Waiting(Protocol):
    """Something that waits for its turn."""

    @property
    def priority(self) -> str: ...
    @property
    def limit_key(self) -> str: ...
    @property
    def due_at(self) -> datetime: ...


class Asking(Waiting, Protocol):
    """An execution that asks for room."""

    @property
    def id(self) -> UUID: ...


One = TypeVar("One", bound=Asking)


@dataclass(slots=True)
class Turns:
    """When each key was last served, as far as this process knows."""

    low_waits_at_most: timedelta
    served_at: MutableMapping[str, datetime] = field(default_factory=dict)
    remembered: int = 10_000
    latest: datetime = NEVER

    def rank(self, one: Waiting, *, now: datetime) -> int:
        """Its place among the priorities, 0 first."""
        rank = RANKS[one.priority]
        if one.priority == Priority.LOW and now - one.due_at >= self.low_waits_at_most:
            return AGED
        return rank

    def since(self, one: Waiting) -> datetime:
        """Since when its key waits for a turn."""
        return max(one.due_at, self.served_at.get(one.limit_key, one.due_at))

    def serve(self, limit_key: str, *, at: datetime) -> None:
        """Note that the key had its turn, after all that had theirs before."""
        self.latest = max(at, self.latest + INSTANT)
        self.served_at[limit_key] = self.latest
        if len(self.served_at) > self.remembered:
            latest = sorted(self.served_at.items(), key=lambda one: one[1])
            self.served_at = dict(latest[self.remembered // 2 :])


@dataclass(slots=True)
class Choice(Generic[One]):
    """Who is admitted, and what each of the others lacks room in."""

    admitted: list[One] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)


def choose(
    asking: Iterable[One],
    *,
    needs: Mapping[UUID, Sequence[str]],
    room: MutableMapping[str, int],
    turns: Turns,
    now: datetime,
) -> Choice[One]:
    """Admit in turn all for whom there is room in every place they need; takes it from `room`."""
    choice: Choice[One] = Choice()
    by_rank: dict[int, list[One]] = defaultdict(list)
    for one in asking:
        by_rank[turns.rank(one, now=now)].append(one)
    for rank in sorted(by_rank):
        for one in _in_turn(by_rank[rank], turns, choice):
            lacking = next((place for place in needs[one.id] if room[place] < 1), None)
            if lacking is not None:
                choice.refused[one.id] = lacking
                continue
            for place in needs[one.id]:
                room[place] -= 1
            choice.admitted.append(one)
            turns.serve(one.limit_key, at=now)
    return choice


def _in_turn(asking: Sequence[One], turns: Turns, choice: Choice[One]) -> Iterator[One]:
    """Whoever is next, in the light of who was admitted meanwhile."""
    lines: dict[str, deque[One]] = defaultdict(deque)
    for one in sorted(asking, key=lambda one: one.due_at):
        lines[one.limit_key].append(one)
    heap = [(turns.since(line[0]), key) for key, line in lines.items()]
    heapq.heapify(heap)
    while heap:
        _, key = heapq.heappop(heap)
        admitted = len(choice.admitted)
        yield lines[key].popleft()
        if lines[key]:
            was_served = len(choice.admitted) > admitted
            since = turns.served_at[key] if was_served else turns.since(lines[key][0])
            heapq.heappush(heap, (since, key))
