"""Around the measured installation: its endpoint server, started and read by the harness."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.installation import Installation, MeasurementImpossible
from config import embedded_instance
from config.embedded_daemon import wait_until
from config.env import CHECKOUT

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where it is, and the file of its calls."""

    url: str
    calls: Path

    def arrivals(self) -> list[tuple[float, str]]:
        """The instant (seconds since the epoch) and the idempotency key of every call."""
        lines = [line.split() for line in self.calls.read_text().splitlines()]
        return sorted((float(at), key) for at, key in lines)

    def forget(self) -> None:
        os.truncate(self.calls, 0)


@contextmanager
def answering(
    ours: Installation, *, after_seconds: float, module: str = "benchmarks.endpoint"
) -> Iterator[Endpoint]:
    """An endpoint that answers `after_seconds`; raises MeasurementImpossible."""
    port = embedded_instance.next_free(0)
    calls = ours.folder / f"calls of {module}"
    calls.touch()
    child = subprocess.Popen(
        [sys.executable, "-m", module, str(port), str(after_seconds), str(calls)],
        cwd=CHECKOUT,
        start_new_session=True,
    )
    try:
        if not wait_until(lambda: _listens(port), seconds=START_SECONDS):
            raise MeasurementImpossible("The endpoint server did not start")
        yield Endpoint(f"http://127.0.0.1:{port}/", calls)
    finally:
        child.terminate()
        child.wait()
        calls.unlink(missing_ok=True)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
