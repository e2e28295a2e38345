"""Beside an execution's life: lines of stations that serve whoever comes, simulated event by event.

A customer passes through stages one after the other; each stage is served at a station, which has
so many servers and one line in order of arrival. What a station or a stage is called, is the
caller's matter.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stage:
    """`seconds` of service at `station`; `is_start`: what the customer came for begins then."""

    station: str
    seconds: float
    is_start: bool = False


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who arrives at an instant, in seconds, and passes through stages in order."""

    arrives_at: float
    stages: Sequence[Stage]


@dataclass(slots=True)
class Observed:
    """What the simulation saw; times in seconds, one entry per customer in order of arrival."""

    until: float
    busy: dict[str, float]
    starts: list[float]
    stays: list[float]
    mean_present: float

    def utilisation(self, servers: Mapping[str, int]) -> dict[str, float]:
        """How much of the time the servers of each station were busy, 0 to 1."""
        return {name: self.busy[name] / (self.until * count) for name, count in servers.items()}


@dataclass(slots=True)
class _Station:
    free: int
    line: deque[int] = field(default_factory=deque)


class _Run:
    def __init__(self, customers: Sequence[Customer], servers: Mapping[str, int]) -> None:
        self.customers = customers
        self.stations = {name: _Station(count) for name, count in servers.items()}
        self.at = [0] * len(customers)
        self.busy = dict.fromkeys(servers, 0.0)
        self.starts = [0.0] * len(customers)
        self.stays = [0.0] * len(customers)
        self.present = 0
        self.presence = self.now = 0.0
        self.events: list[tuple[float, int, int]] = []
        self.serial = 0

    def to_the_end(self) -> Observed:
        for number, one in enumerate(self.customers):
            self._at(one.arrives_at, number)
        while self.events:
            now, _, number = heapq.heappop(self.events)
            self.presence += self.present * (now - self.now)
            self.now = now
            self._happens(number)
        return Observed(
            until=self.now,
            busy=self.busy,
            starts=self.starts,
            stays=self.stays,
            mean_present=self.presence / self.now if self.now else 0.0,
        )

    def _happens(self, number: int) -> None:
        """The customer arrives, or the stage it is in has ended."""
        one = self.customers[number]
        if self.at[number] == 0:
            self.present += 1
        else:
            self._leave(one.stages[self.at[number] - 1].station)
        if self.at[number] == len(one.stages):
            self.present -= 1
            self.stays[number] = self.now - one.arrives_at
            return
        self._join(number)

    def _join(self, number: int) -> None:
        station = self.stations[self.customers[number].stages[self.at[number]].station]
        if station.free:
            station.free -= 1
            self._serve(number)
        else:
            station.line.append(number)

    def _leave(self, name: str) -> None:
        station = self.stations[name]
        if station.line:
            self._serve(station.line.popleft())
        else:
            station.free += 1

    def _serve(self, number: int) -> None:
        one = self.customers[number]
        stage = one.stages[self.at[number]]
        self.at[number] += 1
        if stage.is_start:
            self.starts[number] = self.now - one.arrives_at
        self.busy[stage.station] += stage.seconds
        self._at(self.now + stage.seconds, number)

    def _at(self, instant: float, number: int) -> None:
        self.serial += 1
        heapq.heappush(self.events, (instant, self.serial, number))


def simulate(customers: Iterable[Customer], servers: Mapping[str, int]) -> Observed:
    """Let everybody through; `servers` says how many each station has."""
    return _Run(list(customers), servers).to_the_end()
