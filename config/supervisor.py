"""Around every execution: keeps the processes of the Procfile alive, and ends them in order.

One thread, one loop. A process that dies is started again with growing pauses; on a signal the
kinds of processes (web, beat, worker, ...) are stopped one after the other, in Procfile order. Each
process leads a session of its own, so nothing it forked outlives it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from string import Template
from types import FrameType

import psutil

from config.embedded_daemon import last_lines, wait_until

LEASH = Path(__file__).with_name("leash.py")
MARK = "CADENZA_INSTANCE"  # in the environment of all that belongs to one installation
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0  # alive for so long, the next death counts as the first
TICK_SECONDS = 0.25
KILLED_SECONDS = 5.0  # the kernel's time to end what was killed
LOG_LIMIT_BYTES = 20_000_000

Report = Callable[[str], None]


class ProcfileError(ValueError):
    """A line of the Procfile is not `name: command`."""


def read_procfile(path: Path) -> dict[str, str]:
    """The commands by name, in the order of the file; raises ProcfileError, OSError."""
    commands: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, command = line.partition(":")
        if not colon or not command.strip() or not name.strip().replace("_", "").isalnum():
            raise ProcfileError(f"{path}, line {number}: {line!r} is not `name: command`")
        if name.strip() in commands:
            raise ProcfileError(f"{path}, line {number}: {name.strip()!r} is given twice")
        commands[name.strip()] = command.strip()
    return commands


@dataclass
class Supervised:
    """One line of the Procfile and the process that runs it now, if any."""

    name: str
    command: str
    log: Path
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0  # monotonic seconds, as are all instants here
    start_again_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS

    @property
    def kind(self) -> str:
        return self.name.partition("_")[0]

    def start(self, environment: Mapping[str, str], *, cwd: Path) -> None:
        argv = [Template(part).safe_substitute(environment) for part in shlex.split(self.command)]
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv],
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.started_at = time.monotonic()

    def is_alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def bury(self, *, now: float) -> int:
        """End what the dead process forked, plan its next start; returns its exit status."""
        if self.child is None:
            raise RuntimeError(f"{self.name!r} was never started")
        status = self.child.wait()
        self.kill_group()
        if now - self.started_at >= STEADY_SECONDS:
            self.pause = FIRST_PAUSE_SECONDS
        self.start_again_at = now + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE_SECONDS)
        self.child = None
        return status

    def terminate(self) -> None:
        if self.child is not None:
            self.child.terminate()

    def kill_group(self) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)

    def limit_log(self) -> None:
        """Keep one former log: the process appends, so its file is copied and emptied."""
        if self.log.stat().st_size > LOG_LIMIT_BYTES:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)


@dataclass
class StopSignals:
    """SIGINT, SIGTERM and SIGHUP (a closed terminal) ask for an orderly stop; they are counted."""

    count: int = 0
    last: int = 0

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._remember)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.last = number


@dataclass
class Supervisor:
    """Starts, watches and stops processes; every message for a person goes through `report`.

    `mark` recognises the installation: all its processes carry it in their environment.
    """

    environment: dict[str, str]
    mark: str
    cwd: Path
    logs: Path
    report: Report
    signals: StopSignals
    drain_seconds: float = 30.0
    processes: list[Supervised] = field(default_factory=list)

    def __post_init__(self) -> None:
        programs = str(Path(sys.executable).parent)
        path = self.environment.get("PATH", os.defpath)
        self.environment = {
            **self.environment,
            MARK: self.mark,
            "PATH": f"{programs}{os.pathsep}{path}",
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what runs now, by name."""
        return {one.name: one.child.pid for one in self.processes if one.child is not None}

    def end_leftovers(self) -> int:
        """End processes of this installation that a killed supervisor left; returns how many.

        The caller owns the data folder, so no living supervisor has a claim on them.
        """
        found = list(marked(self.mark))
        for send, seconds in (
            (psutil.Process.terminate, self.drain_seconds),
            (psutil.Process.kill, KILLED_SECONDS),
        ):
            for process in marked(self.mark):
                with contextlib.suppress(psutil.NoSuchProcess):
                    send(process)
            if wait_until(lambda: not list(marked(self.mark)), seconds=seconds, pause=0.1):
                break
        return len(found)

    def run_once(self, name: str, argv: list[str]) -> str | None:
        """Run one command to its end; its standard output, or None if a signal asked to stop.

        Raises CalledProcessError with the end of its standard error.
        """
        log = self.logs / f"{name}.log"
        with log.open("wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv],
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        while not self.signals.count:
            with contextlib.suppress(subprocess.TimeoutExpired):
                output, _ = child.communicate(timeout=TICK_SECONDS)
                if child.returncode != 0:
                    raise subprocess.CalledProcessError(
                        child.returncode, argv, stderr=last_lines(log, count=15)
                    )
                return output.decode()
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return None

    def start(self, commands: Mapping[str, str]) -> None:
        """Start every command; output goes to `<logs>/<name>.log`."""
        for name, command in commands.items():
            process = Supervised(name, command, self.logs / f"{name}.log")
            self.processes.append(process)
            process.start(self.environment, cwd=self.cwd)

    def watch(self, *, each_tick: Callable[[], None], until: Callable[[], bool]) -> None:
        """Keep all alive until a signal arrives or `until` holds; `each_tick` runs in between."""
        while not (self.signals.count or until()):
            each_tick()
            self._restart_the_dead(now=time.monotonic())
            time.sleep(TICK_SECONDS)

    def _restart_the_dead(self, *, now: float) -> None:
        for process in self.processes:
            if process.is_alive():
                process.limit_log()
            elif process.child is not None:
                status, pause = process.bury(now=now), process.start_again_at - now
                self.report(
                    f"{process.name} ended ({describe(status)}); starts again in {pause:g} s; "
                    f"{process.log} ends:\n{last_lines(process.log)}"
                )
            elif now >= process.start_again_at:
                process.start(self.environment, cwd=self.cwd)

    def stop(self) -> None:
        """Stop kind after kind: SIGTERM, time to drain, SIGKILL to what is left of the group.

        One more signal while this runs ends the waiting.
        """
        seen = self.signals.count
        for _kind, members in groupby(self.processes, key=lambda process: process.kind):
            self._stop_together([one for one in members if one.is_alive()], seen=seen)
        self.processes.clear()
        self.end_leftovers()

    def _stop_together(self, running: Sequence[Supervised], *, seen: int) -> None:
        for process in running:
            process.terminate()
        wait_until(
            lambda: self.signals.count > seen or not any(one.is_alive() for one in running),
            seconds=self.drain_seconds,
        )
        for process in running:
            if process.is_alive():
                self.report(f"{process.name} does not end by itself and is killed")
            process.kill_group()
            process.bury(now=time.monotonic())


def marked(mark: str) -> Iterator[psutil.Process]:
    """The processes whose environment carries this installation's mark, this one excepted."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                yield process


def describe(status: int) -> str:
    """An exit status in words: `signal SIGKILL`, `status 1`."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
