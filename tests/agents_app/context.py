"""A Context as the runner would give it, driven by the test."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Generic
from uuid import UUID, uuid4

from agents_app.handlers.base import C
from errors_app.taxonomy import Cancelled, DeadlineExceeded


class TestContext(Generic[C]):
    __test__ = False

    def __init__(
        self,
        config: C,
        *,
        seconds: float = 20.0,
        parameters: Mapping[str, Any] | None = None,
        attempt: int = 1,
        correlation_id: str = "",
    ) -> None:
        self.config = config
        self.parameters: Mapping[str, Any] = parameters or {}
        self.execution_id: UUID = uuid4()
        self.attempt = attempt
        self.correlation_id = correlation_id
        self.deadline = datetime.now(UTC) + timedelta(seconds=seconds)
        self.is_cancelled = False
        self.told: list[tuple[int, int, str]] = []
        self.programs: list[tuple[Any, int]] = []
        self._ends = time.monotonic() + seconds

    def progress(self, done: int, total: int, *, step: str = "") -> None:
        self.told.append((done, total, step))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        began = time.monotonic()
        ends, self._ends = self._ends, float("inf")
        try:
            yield
        finally:
            self._ends = ends + time.monotonic() - began

    def took(self, program: Any, *, peak_bytes: int = 0) -> None:
        self.programs.append((program, peak_bytes))

    def check(self) -> None:
        if self.is_cancelled:
            raise Cancelled("asked to stop")
        if time.monotonic() >= self._ends:
            raise DeadlineExceeded("the time is over")
