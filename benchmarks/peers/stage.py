"""Beside the product: what every peer's script needs - its addresses, its workers, its answer.

Imported by the scripts of this folder; no product code here.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

DATABASE_URL: Final = os.environ.get("PEER_DATABASE_URL", "")
REDIS_URL: Final = os.environ.get("PEER_REDIS_URL", "")
FOLDER: Final = Path(os.environ.get("PEER_FOLDER", "."))
CHECKOUT: Final = Path(__file__).resolve().parents[2]
# Ends what this script has started when the script itself is killed.
LEASH: Final = (sys.executable, "-I", "-S", str(CHECKOUT / "config" / "leash.py"))
CLOCKS: Final = "clock-"
READY: Final = "ready-"
READY_SECONDS: Final = 180.0
STOP_SECONDS: Final = 10.0


class TooLate(Exception):
    """What was waited for did not come in time."""


def arguments() -> argparse.Namespace:
    """What every script understands; each uses what its measurement needs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["drain", "latency", "due", "tick"])
    parser.add_argument("--count", type=int, default=1_000, help="jobs, or schedules that are due")
    parser.add_argument("--schedules", type=int, default=1_000, help="schedules that exist")
    parser.add_argument("--runs", type=int, default=1)
    return parser.parse_args()


def answer(runs: Sequence[Mapping[str, Any]], **settings: Any) -> None:
    """Print the one JSON document of a script: its runs, and the settings they were made with."""
    print(json.dumps({"runs": list(runs), "settings": settings}))


def say_ready() -> None:
    """Called by a worker that is about to take work."""
    (FOLDER / f"{READY}{os.getpid()}").touch()


def note_start() -> None:
    """Called by a job as it begins: the clock goes to a file of this process."""
    file = _clock()
    os.write(file, b"%.6f\n" % time.time())


_clocks: dict[int, int] = {}


def _clock() -> int:
    pid = os.getpid()
    if pid not in _clocks:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        _clocks[pid] = os.open(FOLDER / f"{CLOCKS}{pid}", flags, 0o644)
    return _clocks[pid]


def starts() -> list[float]:
    """Every start that jobs have noted, in order."""
    return sorted(
        float(line) for file in FOLDER.glob(f"{CLOCKS}*") for line in file.read_text().splitlines()
    )


def forget_starts() -> None:
    for file in FOLDER.glob(f"{CLOCKS}*"):
        os.truncate(file, 0)


def until(look: Callable[[], bool], *, seconds: float, pause: float = 0.005) -> float:
    """Poll until `look` holds; answers the instant (seconds since the epoch). Raises TooLate."""
    ends = time.monotonic() + seconds
    while not look():
        if time.monotonic() > ends:
            raise TooLate(f"not within {seconds:g} s")
        time.sleep(pause)
    return time.time()


@dataclass
class Workers:
    """Processes of a peer, which can be held still while work is put in front of them."""

    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, argv: Sequence[str], **environment: str) -> None:
        log = FOLDER / f"worker-{len(self.children)}.log"
        with log.open("ab") as output:
            self.children.append(
                subprocess.Popen(
                    [*LEASH, str(os.getpid()), *argv],
                    cwd=CHECKOUT,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def wait_ready(self) -> None:
        until(self._are_ready, seconds=READY_SECONDS, pause=0.05)

    def _are_ready(self) -> bool:
        for number, child in enumerate(self.children):
            if child.poll() is not None:
                log = (FOLDER / f"worker-{number}.log").read_text(errors="replace")
                raise TooLate(f"A worker ended by itself:\n{log[-1_000:]}")
        return len(list(FOLDER.glob(f"{READY}*"))) >= len(self.children)

    def hold(self) -> None:
        self._signal(signal.SIGSTOP)

    def release(self) -> float:
        """Let them go on; answers the instant."""
        now = time.time()
        self._signal(signal.SIGCONT)
        return now

    def stop(self) -> None:
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        for child in self.children:
            try:
                child.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def _signal(self, number: signal.Signals) -> None:
        for child in self.children:
            if child.poll() is None:
                os.killpg(child.pid, number)


@contextmanager
def workers() -> Iterator[Workers]:
    """Workers that are stopped whatever happens."""
    made = Workers()
    try:
        yield made
    finally:
        made.stop()


def python(module: str, *arguments: str) -> list[str]:
    """A command line of the environment that runs this script."""
    return [sys.executable, "-m", module, *arguments]


def waits_ms(starts: Sequence[float], *, due_at: float) -> list[float]:
    """Milliseconds from the planned instant to each start."""
    return [round((one - due_at) * 1000, 3) for one in starts]
