"""A world in which schedules fire, wait, run and end, hours in a moment. Pure: no Django, no clock.

Fires are decided by the same `policies` as real ones; what is simulated is everything around them:
how long an execution takes (as recorded, or as given), how many run at once, in which order the
queues are read. The world jumps from event to event, so its cost is that of the events.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

from scheduler_app import coming, policies
from scheduler_app.foresight import simulated
from scheduler_app.foresight.simulated import Actor, Run, State
from scheduler_app.foresight.simulation_measures import Measures
from scheduler_app.next_run import Missed
from scheduler_app.policies import Entry, Fire, FireReason

Progress = Callable[[datetime], None]
PRIORITIES: Final = ("critical", "high", "normal", "low")


class _Kind(IntEnum):
    """What happens first when several things happen at one instant."""

    END = 0
    READY = 1
    FIRE = 2


class World:
    """Everything at one instant; `run` lets time pass."""

    def __init__(
        self,
        actors: Sequence[Actor],
        *,
        begin: datetime,
        end: datetime,
        slots: int,
        limits: Mapping[str, int],
    ) -> None:
        self._begin, self._end = begin, end
        self._free = slots
        self._room = dict(limits)
        self._limited: dict[str, deque[Run]] = {}
        self._queues: dict[str, deque[Run]] = {one: deque() for one in PRIORITIES}
        self._events: list[tuple[datetime, int, int, Any]] = []
        self._sequence = 0
        self.now = begin
        self.measures = Measures(begin, end, slots=slots)
        self._states = [self._state(one) for one in actors]
        by_id = {one.actor.prospect.schedule_id: one for one in self._states}
        for state in self._states:
            for upstream in state.actor.upstreams & by_id.keys():
                by_id[upstream].dependents.append(state)
            for _ in range(state.actor.active):
                self._make(state, begin)
            self._await_fire(state)

    def run(self, *, most_fires: int, progress: Progress | None = None) -> Measures:
        """Let everything happen until the end, or until there were `most_fires` fires."""
        events, measures = self._events, self.measures
        tell_at = self._begin
        while events and events[0][0] <= self._end and measures.fires < most_fires:
            at, kind, _, subject = heapq.heappop(events)
            self.now = at
            if kind == _Kind.FIRE:
                self._fire(subject, at)
            elif kind == _Kind.READY:
                self._ready(subject)
            elif not subject.is_over:
                self._end_run(subject)
            if progress is not None and at >= tell_at:
                progress(at)
                tell_at = at + (self._end - self._begin) / 100
        is_complete = not events or events[0][0] > self._end
        measures.close(self._end if is_complete else self.now)
        measures.unfinished = sum(len(state.live) for state in self._states)
        return measures

    def _state(self, actor: Actor) -> State:
        nominals = coming.nominals(actor.prospect, now=self._begin, until=self._end)
        prospect = actor.prospect
        seen = self.measures.of(prospect)
        return State(actor, nominals, prospect.runs_left, seen, simulated.undisturbed(actor))

    def _later(self, at: datetime, kind: _Kind, subject: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (at, kind, self._sequence, subject))

    def _await_fire(self, state: State) -> None:
        nominal = next(state.nominals, None)
        if nominal is not None:
            self._later(nominal, _Kind.FIRE, state)

    def _fire(self, state: State, nominal: datetime) -> None:
        if state.runs_left is not None and state.runs_left <= 0:
            return
        due = Missed(nominal, (), 0, None, None)
        # What was overdue when the simulation began is looked at then.
        now = max(nominal, self._begin)
        for fire in policies.decide(due, simulated.circumstances(state), now=now):
            self.measures.note_fire(state.seen, fire.reason, nominal)
            if fire.is_run:
                self._enter(state, fire, now)
        self._await_fire(state)

    def _enter(self, state: State, fire: Fire, now: datetime) -> None:
        if state.runs_left is not None:
            state.runs_left -= 1
        doors = state.actor.prospect.doors
        due_at = fire.starts_at or now
        if doors is not None:
            due_at = max(now, doors.start(fire.nominal_at, fire.starts_at or fire.nominal_at))
        if fire.entry is Entry.REPLACE:
            for one in reversed([*state.live.values()]):  # those that wait first: none may start
                self._end_run(one, was_cancelled=True)
        self._make(state, due_at, is_held=fire.entry is Entry.WAIT)

    def _make(self, state: State, due_at: datetime, *, is_held: bool = False) -> None:
        actor = state.actor
        duration = actor.durations[state.made % len(actor.durations)]
        expires_at = None if actor.run_ttl is None else due_at + actor.run_ttl
        run = Run(state, due_at, duration, expires_at)
        state.made += 1
        state.live[id(run)] = run
        if is_held:
            state.held.append(run)
        elif due_at > self.now:
            self._later(due_at, _Kind.READY, run)
        else:
            self._ready(run)

    def _ready(self, run: Run) -> None:
        """As far as its schedule is concerned it may start: under its limits, in a free slot."""
        if run.is_over:
            return
        keys = run.state.actor.keys
        for key in keys:
            if self._room[key] <= 0:
                self._limited.setdefault(key, deque()).append(run)
                self.measures.note_held(self.now, +1)
                return
        for key in keys:
            self._room[key] -= 1
        if self._free > 0:
            self._start(run)
        else:
            self._queues[run.state.actor.priority].append(run)
            self.measures.note_queue(self.now, +1)

    def _start(self, run: Run) -> None:
        if run.expires_at is not None and self.now > run.expires_at:
            self.measures.expired += 1
            self._end_run(run)
            return
        run.is_started = True
        self._free -= 1
        self.measures.note_start(run.state.seen, self.now, self.now - run.due_at)
        self._later(self.now + run.duration, _Kind.END, run)

    def _end_run(self, run: Run, *, was_cancelled: bool = False) -> None:
        state = run.state
        was_queued = not run.is_started and not was_cancelled
        run.is_over = True
        del state.live[id(run)]
        if run.is_started:
            self._free += 1
            self.measures.note_end(self.now)
        elif was_cancelled:
            self._forget(run)
        if run.is_started or was_queued:
            self._give_room(state.actor.keys)
        if was_cancelled:
            self.measures.cancelled += 1
        else:
            self._follow(state)
        self._release(state)
        self._start_waiting()

    def _forget(self, run: Run) -> None:
        """Take a cancelled run out of whatever it waits in."""
        state = run.state
        if run in state.held:
            state.held.remove(run)
            return
        queue = self._queues[state.actor.priority]
        if run in queue:
            queue.remove(run)
            self.measures.note_queue(self.now, -1)
            self._give_room(state.actor.keys)
            return
        for waiting in self._limited.values():
            if run in waiting:
                waiting.remove(run)
                self.measures.note_held(self.now, -1)

    def _give_room(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._room[key] += 1
        for key in keys:
            waiting = self._limited.get(key)
            while waiting and self._room[key] > 0:
                run = waiting.popleft()
                self.measures.note_held(self.now, -1)
                before = self._room[key]
                self._ready(run)
                if self._room[key] == before:  # another limit holds it now
                    break

    def _release(self, state: State) -> None:
        """The next one that waits for the others of its schedule, once they have ended."""
        if state.held and len(state.live) == len(state.held):
            run = state.held.popleft()
            if run.due_at > self.now:
                self._later(run.due_at, _Kind.READY, run)
            else:
                self._ready(run)

    def _start_waiting(self) -> None:
        for priority in PRIORITIES:
            queue = self._queues[priority]
            while queue and self._free > 0:
                run = queue.popleft()
                self.measures.note_queue(self.now, -1)
                self._start(run)

    def _follow(self, ended: State) -> None:
        """Start what depends on it; every simulated run succeeds."""
        for state in ended.dependents:
            if state.actor.needs_all:
                state.marks.add(ended.actor.prospect.schedule_id)
                if not state.actor.upstreams <= state.marks:
                    continue
                state.marks.clear()
            self._depend(state)

    def _depend(self, state: State) -> None:
        entry = policies.enter(
            state.actor.overlap,
            has_active=bool(state.live),
            held=len(state.held),
            buffer_limit=state.actor.buffer_limit,
        )
        is_refused = entry is Entry.REFUSE
        reason = FireReason.SKIPPED_OVERLAP if is_refused else FireReason.DISPATCHED
        self.measures.note_fire(state.seen, reason, self.now)
        if not is_refused:
            self._enter(state, Fire(self.now, reason, entry=entry), self.now)
