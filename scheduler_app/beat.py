"""The metronome: celery-beat's scheduler class, which drives the dispatcher round after round.

Any number of beats may run. Schedules of people never go through django-celery-beat: its tables
hold only the handful of maintenance jobs, and each of their fires is claimed by one beat through a
compare-and-set. An exception never leaves `tick`, because it would end the process.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any, Final

from django.db import close_old_connections, connection
from django.db.models import Q
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from config.env import env
from errors_app import rescuer
from executions_app import clock, partitions
from executions_app.database_errors import is_away
from scheduler_app import consequences, dispatcher, epoch, queues, schedules, system

HOUSEKEEPING_SECONDS: Final = 1.0
AFTER_TROUBLE_SECONDS: Final = 1.0
SHORTEST_REST_SECONDS: Final = 0.01  # what is due and locked elsewhere must not keep a CPU busy

logger = logging.getLogger(__name__)


class Metronome:
    """One look at the clock at a time; `beat` answers how long to sleep before the next."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._kept_house_at = float("-inf")
        self._rescued_at = float("-inf")
        self.is_broker_away = False
        self._has_planned = False

    def beat(self) -> float:
        """One round, in seconds until the next; whatever happens stays in here."""
        close_old_connections()
        try:
            return self._round()
        except Exception as error:
            connection.close()
            if not is_away(error):
                logger.exception("A round failed; the next one tries again")
                return AFTER_TROUBLE_SECONDS
            logger.warning("PostgreSQL did not answer; trying again: %s", error)
        # Nobody could renew a lease meanwhile: workers get a period to do it before the rescuer.
        self._rescued_at = time.monotonic()
        return AFTER_TROUBLE_SECONDS

    def _round(self) -> float:
        duties = (
            self._make_room,
            self._plan_unplanned,
            self._keep_house,
            self._dispatch,
            self._draw_consequences,
            self._rescue,
        )
        is_done = [self._try(duty) for duty in duties]
        if not all(is_done):
            return AFTER_TROUBLE_SECONDS
        until_due = dispatcher.seconds_until_due()
        if until_due is None:
            return env.tick_seconds
        return min(max(until_due, SHORTEST_REST_SECONDS), env.tick_seconds)

    @staticmethod
    def _try(duty: Callable[[], None]) -> bool:
        try:
            duty()
        except Exception as error:
            if is_away(error):
                raise
            logger.exception("%s failed; the next round tries again", duty.__name__)
            return False
        return True

    def _make_room(self) -> None:
        partitions.ensure_ahead(clock.now())

    def _plan_unplanned(self) -> None:
        if not self._has_planned:
            schedules.plan_unplanned()
            self._has_planned = True

    def _dispatch(self) -> None:
        if system.read().scheduler_running:
            dispatcher.dispatch_due()

    def _draw_consequences(self) -> None:
        for _ in range(dispatcher.MAX_BATCHES):
            if consequences.draw() < env.scheduler_batch_size:
                break

    def _rescue(self) -> None:
        if time.monotonic() - self._rescued_at >= env.rescue_seconds:
            self._rescued_at = time.monotonic()
            rescuer.rescue_lost(rng=self._random)

    def _keep_house(self) -> None:
        if time.monotonic() - self._kept_house_at < HOUSEKEEPING_SECONDS:
            return
        self._kept_house_at = time.monotonic()
        problem = ""
        try:
            epoch.keep()
            dispatcher.republish_overdue()
        except queues.BrokerAway as error:
            problem = f"Redis is away: {error}"
        if problem and not self.is_broker_away:
            logger.warning("%s; due work is recorded and sent when it is back", problem)
        self.is_broker_away = bool(problem)
        system.note_tick(problem=problem, now=clock.now())


class CadenzaScheduler(DatabaseScheduler):  # type: ignore[misc]  # the library has no types
    """Run by `celery beat -S scheduler_app.beat.CadenzaScheduler`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.metronome = Metronome()
        self._reserved: ModelEntry | None = None
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of the dispatcher, then at most one maintenance job; seconds to sleep."""
        wait = self.metronome.beat()
        if not self.metronome.is_broker_away:
            wait = min(wait, self._maintain(*args, **kwargs))
        return max(0.0, min(wait, env.tick_seconds))

    def _maintain(self, *args: Any, **kwargs: Any) -> float:
        try:
            wait: float = super().tick(*args, **kwargs)
        except Exception:
            logger.exception("A maintenance job could not be looked at; trying again")
            return AFTER_TROUBLE_SECONDS
        return wait

    def reserve(self, entry: ModelEntry) -> ModelEntry:
        """The entry of the following fire; nothing is saved before the fire is claimed."""
        self._reserved = next(entry)
        return self._reserved

    def apply_entry(self, entry: ModelEntry, producer: Any = None) -> None:
        """Send a maintenance job if this beat is the one that claims its fire."""
        if self._claim(entry):
            super().apply_entry(entry, producer=producer)

    def _claim(self, entry: ModelEntry) -> bool:
        following = self._reserved
        assert following is not None
        unclaimed = Q(last_run_at=entry.last_run_at) | Q(last_run_at__isnull=True)
        claimed = PeriodicTask.objects.filter(unclaimed, pk=entry.model.pk).update(
            last_run_at=following.last_run_at, total_run_count=following.total_run_count
        )
        if not claimed:
            seen = PeriodicTask.objects.filter(pk=entry.model.pk).values_list("last_run_at").first()
            if seen is not None:
                following.last_run_at = following.model.last_run_at = seen[0]
        return bool(claimed)

    def sync(self) -> None:
        """Nothing to write: `_claim` is the only writer of what a fire changes."""
