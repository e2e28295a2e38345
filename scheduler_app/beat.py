"""The metronome: celery-beat's scheduler class, which drives the dispatcher round after round.

Any number of beats may run. An exception never leaves `tick`, because it would end the process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from django.db import connection

from agents_app.cycle import approving, watchdog
from config.env import env
from errors_app.breakers.correcting import Corrections
from errors_app.incidents import tending
from executions_app import clock, expiry, partitions
from executions_app.database_errors import is_away
from scheduler_app import (
    admission,
    adoption,
    backfills,
    clocks,
    consequences,
    dispatcher,
    epoch,
    holds,
    last_round,
    maintenance,
    outlook,
    pauses,
    queues,
    rescues,
    schedules,
    sending,
    system,
)
from scheduler_app.ahead import Ahead
from scheduler_app.bulk import advance
from scheduler_app.limiting import rates, unique
from scheduler_app.outlook import Chores, Outlook
from scheduler_app.sources import internal

HOUSEKEEPING_SECONDS: Final = 1.0
ROOM_SECONDS: Final = 600.0  # partitions are made months ahead
AFTER_TROUBLE_SECONDS: Final = 1.0
SHORTEST_REST_SECONDS: Final = 0.01  # what is due and locked elsewhere must not keep a CPU busy
LET_GO_SECONDS: Final = 10.0
LET_GO: Final = 100
BULK_REST_SECONDS: Final = 0.05  # between two pages of bulk operations
QUIET_SECONDS: Final = 0.05  # duties that can wait do not begin this shortly before a fire

logger = logging.getLogger(__name__)


class Metronome:
    """One look at the clock at a time; `beat` answers how long to sleep before the next."""

    def __init__(self) -> None:
        self._made_room_at = self._kept_house_at = float("-inf")
        self._rescues = rescues.Rescues()
        self._ahead = Ahead()
        self.is_broker_away = False
        self._has_planned = False
        self._has_more_outcomes = False
        self._held = holds.Held()
        self._of_keys = unique.Waiting()
        self._has_drawn = False
        self._let_go_after = ""
        self._let_go_at = float("-inf")
        self._chores = Chores()
        self._corrections = Corrections()
        self._clocks = clocks.Comparison()

    def beat(self) -> float:
        """One round, in seconds until the next; whatever happens stays in here."""
        began = time.monotonic()
        try:
            return self._round()
        except Exception as error:
            connection.close()
            if not is_away(error):
                logger.exception("A round failed; the next one tries again")
                return AFTER_TROUBLE_SECONDS
            logger.warning("PostgreSQL did not answer; trying again: %s", error)
        self._rescues.postgres_is_away(since=began)
        return AFTER_TROUBLE_SECONDS

    def _round(self) -> float:
        seen = outlook.look()
        self._rescues.postgres_answers(now=time.monotonic())
        self._has_more_outcomes = False  # another beat may have drawn them meanwhile
        duties = list(self._duties(seen))
        if not duties:
            return self._rest(seen)
        is_done = [self._try(duty) for duty in duties]
        return self._rest(outlook.look()) if all(is_done) else AFTER_TROUBLE_SECONDS

    def _duties(self, seen: Outlook) -> Iterator[Callable[[], object]]:
        """What is to be done now: due work first, and just before a fire nothing that can wait."""
        now = time.monotonic()
        if now - self._made_room_at >= ROOM_SECONDS:
            yield self._make_room
        if not self._has_planned:
            yield self._plan_unplanned
        until_due = seen.until_due(self._ahead)
        if seen.has_held and seen.is_running:
            yield self._release_held  # before what is new: it has waited
        if until_due == 0.0:
            yield self._dispatch
        if seen.has_outcomes:
            yield self._draw_consequences
        if seen.has_held_by_key and self._may_free_keys():
            yield self._release_keys
        if seen.has_listeners:
            yield internal.hear
        yield from self._duties_that_can_wait(until_due, now=now)
        if self._rescues.is_due(now=now):
            yield self._rescues.rescue

    def _duties_that_can_wait(
        self, until_due: float | None, *, now: float
    ) -> Iterator[Callable[[], object]]:
        is_quiet = not until_due or until_due > QUIET_SECONDS
        if now - self._kept_house_at >= HOUSEKEEPING_SECONDS * (1 if is_quiet else 2):
            yield self._keep_house
        elif self._chores.has_bulk and is_quiet:
            yield self._advance_bulk

    def _rest(self, seen: Outlook) -> float:
        """Until the next fire; a moment while what is due belongs to another beat."""
        if self._has_more_outcomes or self._rescues.has_more:
            return 0.0
        if seen.has_held_by_key and self._may_free_keys():
            return 0.0
        longest = env.tick_seconds
        if seen.has_held and seen.is_running:
            longest = min(longest, self._held.rest_seconds)
        if self._chores.has_bulk:
            longest = min(longest, BULK_REST_SECONDS)
        until_due = seen.until_due(self._ahead)
        return longest if until_due is None else min(until_due or SHORTEST_REST_SECONDS, longest)

    @staticmethod
    def _try(duty: Callable[[], object]) -> bool:
        try:
            duty()
        except Exception as error:
            if is_away(error):
                raise
            logger.exception("%s failed; the next round tries again", duty.__name__)
            return False
        return True

    def _dispatch(self) -> None:
        dispatcher.dispatch_due(self._ahead)

    def _release_held(self) -> None:
        dispatcher.release_held(self._held)

    def _may_free_keys(self) -> bool:
        return self._has_drawn or self._of_keys.has_more

    def _release_keys(self) -> None:
        """What waits for other work of its key, once something has ended."""
        is_first = not self._of_keys.has_more
        self._of_keys.release(limit=env.scheduler_batch_size)
        if is_first:  # what ends before the last of them was looked at asks for another pass
            self._has_drawn = False

    def _make_room(self) -> None:
        partitions.ensure_ahead(clock.now())
        rates.forget_idle(limit=env.scheduler_batch_size)
        self._made_room_at = time.monotonic()

    def _plan_unplanned(self) -> None:
        schedules.plan_unplanned()
        self._has_planned = True

    def _draw_consequences(self) -> None:
        drawn = consequences.draw()
        self._has_more_outcomes = drawn >= env.scheduler_batch_size
        self._has_drawn = self._has_drawn or drawn > 0
        if self._chores.has_backfills:
            backfills.advance()

    def _advance_bulk(self) -> None:
        self._chores = replace(self._chores, has_bulk=advance.advance())

    def _let_go(self) -> None:
        """What waits for executions that ended unseen; the ends that were seen let go at once."""
        now = time.monotonic()
        if self._let_go_after or now - self._let_go_at >= LET_GO_SECONDS:
            self._let_go_at = now
            self._let_go_after = admission.let_go_all(limit=LET_GO, after=self._let_go_after)
            self._of_keys.release(limit=env.scheduler_batch_size)

    def _keep_house(self) -> None:
        self._kept_house_at = time.monotonic()
        after = sending.lost_after_seconds()
        self._chores = seen = outlook.chores(unsent_after_seconds=after)
        for is_asked_for, duty in (
            (seen.has_expired, expiry.sweep),
            (seen.has_pauses_over, pauses.end_over),
            (seen.has_cycles, watchdog.look),
            (seen.has_advice, adoption.tend),
            (seen.has_late_plans, approving.expire),
            (True, self._let_go),
            (seen.has_backfills, backfills.advance),
            (True, tending.tend_incidents),
            (True, self._corrections.make_when_due),
            (True, self._clocks.make_when_due),
            (seen.has_bulk, self._advance_bulk),
        ):
            if is_asked_for:
                self._try(duty)
        self._ask_the_broker(seen)

    def _ask_the_broker(self, seen: Chores) -> None:
        """What was lost in Redis goes again; and a person is told whether Redis answers."""
        problem = ""
        try:
            has_lost_all = epoch.keep() > 0
            sending.share_predictions()
            if has_lost_all or seen.has_unsent:
                sending.republish_overdue()
        except queues.BrokerAway as error:
            problem = f"Redis is away: {error}"
        if problem and not self.is_broker_away:
            logger.warning("%s; due work is recorded and sent when it is back", problem)
        self.is_broker_away = bool(problem)
        system.note_tick(problem=problem, now=clock.now())


class CadenzaScheduler(maintenance.MaintenanceScheduler):
    """Run by `celery beat -S scheduler_app.beat.CadenzaScheduler`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.metronome = Metronome()
        self._maintain_at = float("-inf")
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of the dispatcher, then at most one maintenance job; seconds to sleep."""
        with last_round.whole():
            wait = self.metronome.beat()
            if not self.metronome.is_broker_away and not queues.is_left_alone():
                if time.monotonic() >= self._maintain_at:
                    self._maintain_at = time.monotonic() + self.maintain(*args, **kwargs)
                wait = min(wait, self._maintain_at - time.monotonic())
        return max(0.0, min(wait, env.tick_seconds))
