"""Before any execution exists: one service process, started apart from its owner's terminal.

Shared by the embedded PostgreSQL and Redis. A daemon outlives a killed owner on purpose: work that
talks to it goes on, and the next owner adopts it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LOG_LIMIT_BYTES = 10_000_000


class ServiceError(Exception):
    """An embedded service cannot run; the message says which, why and what to do."""


@dataclass
class Daemon:
    """A running service: started by this process (`child`) or adopted from a killed owner."""

    process: psutil.Process
    child: subprocess.Popen[bytes] | None = None

    @classmethod
    def adopt(cls, pid: int) -> Daemon:
        return cls(psutil.Process(pid))

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def is_alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        with suppress(psutil.NoSuchProcess):
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        return False

    def stop(self, signals: Sequence[tuple[int, float]]) -> None:
        """Send each signal in turn until the process is gone, waiting so many seconds after it."""
        for number, seconds in signals:
            with suppress(psutil.NoSuchProcess):
                self.process.send_signal(number)
            if wait_until(lambda: not self.is_alive(), seconds=seconds):
                return
        raise ServiceError(f"process {self.pid} does not end; end it by hand")


def launch(argv: Sequence[str], *, log: Path, cwd: Path, user: str | None = None) -> Daemon:
    """Start a service in a session of its own, so that Ctrl-C at the terminal never reaches it.

    As root, `user` names whom to run it as; None: as ourselves.
    """
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    return Daemon(psutil.Process(child.pid), child)


def run(
    argv: Sequence[str], *, cwd: Path, user: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a service's tool to its end, as `user`; raises OSError if that user may not."""
    return subprocess.run(
        argv,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def leftover(pid_file: Path, *, name: str, directory: Path) -> Daemon | None:
    """A service still working in `directory`, found by its own pid file.

    A pid alone proves nothing (it is reused after a reboot or in a new container): the process
    must carry the service's name and stand in the service's folder.
    """
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        is_ours = name in process.name() and Path(process.cwd()).samefile(directory)
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return Daemon(process) if is_ours else None


def wait_until(condition: Callable[[], bool], *, seconds: float, pause: float = 0.02) -> bool:
    """Poll until the condition holds; False when `seconds` passed without it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def last_lines(log: Path, *, count: int = 5) -> str:
    """The end of a log file, for an error message."""
    with suppress(OSError), log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - 8192))
        return "\n".join(source.read().decode(errors="replace").splitlines()[-count:])
    return ""
