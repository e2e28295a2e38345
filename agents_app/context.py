"""What a handler sees of its execution while it runs: its input, its deadline, and when to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError
from pydantic import BaseModel

from agents_app import connections, draining
from agents_app.metering import Meter
from errors_app.taxonomy import Cancelled, DeadlineExceeded, LeaseLost
from executions_app.ledger import Claimed
from executions_app.scrub import storable_text

logger = logging.getLogger(__name__)
C = TypeVar("C", bound=BaseModel)
PROGRESS_PAUSE_SECONDS: Final = 0.25


class RunContext(Generic[C]):
    """The Context of one attempt; `check` is cheap and may be called as often as one likes."""

    def __init__(
        self,
        claimed: Claimed,
        config: C,
        *,
        now: datetime,
        report: Callable[[Claimed, Mapping[str, Any]], None],
    ) -> None:
        self.claimed = claimed
        self.config = config
        self.parameters: Mapping[str, Any] = claimed.parameters
        self.execution_id: UUID = claimed.id
        self.attempt = claimed.attempt
        self.correlation_id = claimed.correlation_id
        self.timeout = timedelta(milliseconds=claimed.snapshot["timeout_ms"])
        self.deadline = now + self.timeout
        self._ends = time.monotonic() + self.timeout.total_seconds()
        self._report = report
        self._told_at = float("-inf")
        self._waits_since: float | None = None
        self.waited_seconds = 0.0
        self.is_cancelled = False
        self.is_lease_lost = False
        self.meter = Meter()

    @property
    def seconds_over(self) -> float:
        """How long the deadline has passed; negative while there is time, or the work waits."""
        return float("-inf") if self._waits_since else time.monotonic() - self._ends

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the block runs, the time limit stands still: the work waits for its turn."""
        self._waits_since = began = time.monotonic()
        try:
            yield
        finally:
            waited = time.monotonic() - began
            self._ends += waited
            self.deadline += timedelta(seconds=waited)
            self.waited_seconds += waited
            self._waits_since = None

    def took(self, program: Any, *, peak_bytes: int = 0) -> None:
        """Count what a program took that has ended, by what `os.wait4` said of it."""
        self.meter.add(program, peak_bytes=peak_bytes)

    def check(self) -> None:
        """Raise LeaseLost, Cancelled or DeadlineExceeded when the handler has to stop.

        While it waits for its turn NotBegun, too, once its worker begins nothing more.
        """
        if self.is_lease_lost:
            raise LeaseLost(f"Execution {self.execution_id} is no longer held by this worker")
        if self.is_cancelled:
            raise Cancelled(f"Execution {self.execution_id} was asked to stop")
        if self._waits_since and draining.is_on():
            raise draining.NotBegun(f"Execution {self.execution_id} still waits for its turn")
        if self.seconds_over >= 0:
            raise DeadlineExceeded(
                f"The time limit of {self.timeout.total_seconds():g} s has passed; "
                "raise timeout_ms of the schedule if it needs longer"
            )

    def progress(self, done: int, total: int, *, step: str = "") -> None:
        """Tell how far the job is; stored at most four times a second, the last one always.

        Raises LostRace when the execution belongs to somebody else by now.
        """
        is_last = done >= total
        if not is_last and time.monotonic() - self._told_at < PROGRESS_PAUSE_SECONDS:
            return
        self._told_at = time.monotonic()
        percent = 100 if total <= 0 else max(0, min(100, done * 100 // total))
        told = {
            "done": done,
            "total": total,
            "failed": 0,
            "percent": percent,
            "current_step": storable_text(step),
        }
        try:
            self._report(self.claimed, told)
        except (OperationalError, InterfaceError) as error:
            # Nobody's job fails because it could not be watched.
            logger.warning("Progress of %s was not stored: %s", self.execution_id, error)
        finally:
            connections.let_go()
