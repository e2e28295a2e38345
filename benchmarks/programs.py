"""Around the measured installation: its processes, as the Procfile starts them.

They can be held still while work is put in front of them, so that what is measured begins with
warm workers and nobody's start.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from config.embedded_daemon import last_lines, wait_until
from config.env import CHECKOUT
from config.supervisor import MARK, Supervised, read_procfile

READY_SECONDS: Final = 120.0
STOP_SECONDS: Final = 45.0
SIGNS: Final = ("ready.", "beat: Starting", "Scheduler: Starting")

WORKERS: Final = ("worker_io", "worker_low", "worker_process")
BEATS: Final = ("beat_1", "beat_2")


class ProgramFailed(Exception):
    """A process did not come up; the message has the end of its log."""


@dataclass
class Programs:
    """What runs now. `environment` is that of the installation."""

    environment: Mapping[str, str]
    logs: Path
    running: dict[str, Supervised] = field(default_factory=dict)

    def start(self, names: Sequence[str], **more: str) -> None:
        """Start these lines of the Procfile and wait until each has begun to work."""
        lines = read_procfile(CHECKOUT / "Procfile")
        self.start_lines({name: lines[name] for name in names}, **more)

    def start_lines(self, lines: Mapping[str, str], **more: str) -> None:
        environment = {**self.environment, **more, MARK: f"benchmark {self.logs}"}
        for name, line in lines.items():
            process = Supervised(name, line, self.logs / f"{name}.log")
            process.log.write_bytes(b"")
            process.start(environment, cwd=CHECKOUT)
            self.running[name] = process
        for name in lines:
            self._wait_ready(self.running[name])

    def copies(self, name: str, count: int) -> None:
        """`count` processes of one worker line, each with a node name of its own."""
        line = read_procfile(CHECKOUT / "Procfile")[name]
        self.start_lines(
            {
                f"{name}_{number}": re.sub(r"-n (\w+)@", rf"-n \g<1>{number}@", line)
                for number in range(count)
            }
        )

    def hold(self) -> None:
        """Stop the clock of every process."""
        self._signal(signal.SIGSTOP)

    def release(self) -> float:
        """Let all go on; answers the instant, in seconds since the epoch."""
        now = time.time()
        self._signal(signal.SIGCONT)
        return now

    def stop(self, names: Sequence[str] | None = None) -> None:
        """End these (or all) as a supervisor would: SIGTERM, and SIGKILL to what stays."""
        ending = [self.running.pop(name) for name in list(names or self.running)]
        for process in ending:
            process.terminate()
            _signal(process, signal.SIGCONT)  # one that is held still would never hear it
        wait_until(lambda: not any(one.is_alive() for one in ending), seconds=STOP_SECONDS)
        for process in ending:
            process.kill_group()
            if process.child is not None:
                process.child.wait()

    def resident_bytes(self, name: str) -> int:
        """The memory of a process and all it has started."""
        child = self.running[name].child
        assert child is not None
        process = psutil.Process(child.pid)
        family = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in family)

    def _wait_ready(self, process: Supervised) -> None:
        def is_ready() -> bool:
            words = process.log.read_text(errors="replace")
            return any(sign in words for sign in SIGNS) or not process.is_alive()

        in_time = wait_until(is_ready, seconds=READY_SECONDS, pause=0.1)
        if not in_time or not process.is_alive():
            raise ProgramFailed(
                f"{process.name} did not start:\n{last_lines(process.log, count=25)}"
            )

    def _signal(self, number: signal.Signals) -> None:
        for process in self.running.values():
            _signal(process, number)


def _signal(process: Supervised, number: signal.Signals) -> None:
    if process.child is not None and process.is_alive():
        os.killpg(process.child.pid, number)
