"""The maintenance jobs: celery-beat's own entries, each of whose fires one beat claims.

Schedules of people never go through django-celery-beat: its tables hold this handful only. Any
number of beats look at it. A fire that was claimed and that Redis then did not take is passed over:
the job is sent at its next fire.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import redis
from celery.beat import SchedulingError
from django.db.models import Q
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry
from kombu.exceptions import OperationalError

from executions_app import migrated
from scheduler_app import queues

LOOK_AGAIN_SECONDS: Final = 1.0
REDIS_IS_AWAY: Final = (OperationalError, redis.RedisError, OSError)

logger = logging.getLogger(__name__)


class MaintenanceScheduler(DatabaseScheduler):  # type: ignore[misc]  # the library has no types
    """`maintain` sends what is due, at most one job at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._reserved: ModelEntry | None = None
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the maintenance jobs, once there are tables to read them from."""
        migrated.wait()
        super().setup_schedule()

    def maintain(self, *args: Any, **kwargs: Any) -> float:
        """Look at the maintenance jobs; answers in how many seconds to look again, at most one."""
        try:
            self._connect()
            wait: float = super().tick(*args, **kwargs)
        except REDIS_IS_AWAY as error:
            queues.leave_alone()
            logger.warning("Redis did not answer, maintenance jobs wait for it: %s", error)
        except Exception:
            logger.exception("A maintenance job could not be looked at; trying again")
        else:
            return wait
        self._heap = None  # what was taken out of it is put back when it is built anew
        return LOOK_AGAIN_SECONDS

    def _connect(self) -> None:
        """Try once. The library tries until Redis is back, and its beat does nothing meanwhile."""
        self.connection.ensure_connection(max_retries=0)

    def reserve(self, entry: ModelEntry) -> ModelEntry:
        """The entry of the following fire; nothing is saved before the fire is claimed."""
        self._reserved = next(entry)
        return self._reserved

    def apply_entry(self, entry: ModelEntry, producer: Any = None) -> None:
        """Send a maintenance job if this beat is the one that claims its fire."""
        if self._claim(entry):
            super().apply_entry(entry, producer=producer)

    def apply_async(self, entry: ModelEntry, *args: Any, **kwargs: Any) -> Any:
        """As the library does it; a Redis that did not take it is left alone for a moment."""
        try:
            return super().apply_async(entry, *args, **kwargs)
        except SchedulingError as error:
            if isinstance(error.__context__, REDIS_IS_AWAY):
                queues.leave_alone()
            raise

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
