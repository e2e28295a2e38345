"""Real beats, workers and a Redis for the tests that are about processes.

A System has a database and a Redis of its own, so that both may be treated badly. Nothing here
sleeps to wait: `System.until` polls a condition with a deadline, starts again what died by itself,
and shows the logs when the deadline passes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis

from config import embedded_redis
from scheduler_app import queues

CHECKOUT: Final = Path(__file__).resolve().parent.parent
ALL_QUEUES: Final = "critical,high,normal,low,system"
ROLES: Final = {"threads": "worker_io", "prefork": "worker_process"}
POLL_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 90.0  # for whatever takes a moment, also on a machine that is very busy
# Nobody loses its lease here because it is off the processor for some seconds.
QUICK: Final = {
    "LEASE_SECONDS": "15",
    "HEARTBEAT_SECONDS": "0.5",
    "RESCUE_SECONDS": "1",
    "HARD_LIMIT_GRACE_SECONDS": "1",
    "SCHEDULER_TICK_SECONDS": "0.2",
}
# For tests that wait until leases have run out; all that runs there may be tried again.
SHORT_LEASE: Final = {"LEASE_SECONDS": "4"}

Found = TypeVar("Found")


@dataclass
class Process:
    """One child; `is_wanted` says whether the harness brings it back when it dies by itself."""

    name: str
    argv: list[str]
    environment: Mapping[str, str]
    log: Path
    child: subprocess.Popen[bytes] | None = None
    is_wanted: bool = False
    deaths: int = 0
    log_begins: int = 0  # bytes: what stands before was written by an earlier life
    blows: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        self.log_begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                self.argv,
                cwd=CHECKOUT,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.is_wanted = True

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def is_alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def kill(self) -> None:
        """SIGKILL to the process and all of its group."""
        self.is_wanted = False
        if self.is_alive():
            self.blows["killed"] += 1
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as a supervisor would; SIGKILL after half a minute."""
        self.is_wanted = False
        if self.is_alive():
            self.resume()
            os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._reap(seconds=30)
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        self.blows["paused"] += 1
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def revive(self) -> None:
        """Start it again if it died by itself."""
        if self.is_wanted and not self.is_alive():
            self.deaths += 1
            self.blows["died"] += 1
            self.start()

    def tail(self, lines: int = 25) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _end(self, number: signal.Signals) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)
            self._reap(seconds=30)

    def _reap(self, *, seconds: float) -> None:
        if self.child is not None:
            self.child.wait(timeout=seconds)


@dataclass
class System:
    """Everything that runs for one test module, and what its handlers wrote down."""

    redis_url: str
    folder: Path
    environment: dict[str, str]
    processes: dict[str, Process] = field(default_factory=dict)
    forgotten: Counter[str] = field(default_factory=Counter)  # blows to those that are gone
    _entries: list[dict[str, Any]] = field(default_factory=list)
    _read_to: int = 0  # bytes of the journal

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def broker(self) -> redis.Redis:
        return queues.broker()

    def redis_server(self) -> Process:
        """A Redis without persistence: killed and started again, it is empty."""
        port = str(urlsplit(self.redis_url).port)
        argv = [str(embedded_redis.find_program()), "--port", port, "--bind", "127.0.0.1"]
        server = self._process("redis", [*argv, "--save", "", "--appendonly", "no"])
        self.until(self._redis_answers, what="Redis answers")
        return server

    def beat(self, name: str = "beat", **environment: str) -> Process:
        """Start a beat; answers once it has looked at the clock."""
        celery = [sys.executable, "-m", "celery", "-A", "config.celery", "beat"]
        options = ["-S", "scheduler_app.beat.CadenzaScheduler", "-l", "INFO", "--pidfile="]
        schedule = ["-s", str(self.folder / f"{name}.schedule")]
        argv = [*celery, *options, *schedule]
        return self._process(name, argv, CADENZA_ROLE="beat", **environment)

    def worker(
        self,
        name: str = "worker",
        *,
        threads: int = 1,
        pool: str = "threads",
        queues: str = ALL_QUEUES,
        **environment: str,
    ) -> Process:
        """Start a worker of the io shape, or with `pool="prefork"` of the process shape."""
        celery = [sys.executable, "-m", "celery", "-A", "config.celery", "worker"]
        shape = ["-P", pool, "-c", str(threads), "-Q", queues, "-n", f"{name}@%h"]
        quiet = ["-l", "INFO", "--without-gossip", "--without-mingle"]
        return self._process(
            name, [*celery, *shape, *quiet], CADENZA_ROLE=ROLES[pool], **environment
        )

    def _process(self, name: str, argv: list[str], **environment: str) -> Process:
        process = self.processes.get(name)
        if process is None:
            process = Process(
                name, argv, {**self.environment, **environment}, self.folder / f"{name}.log"
            )
            self.processes[name] = process
        if not process.is_alive():
            process.start()
        return process

    def _redis_answers(self) -> bool:
        try:
            return bool(self.broker.ping())
        except redis.RedisError:
            return False

    def wait_ready(self) -> None:
        """Until every beat and worker that is to run has begun to work."""
        for process in list(self.processes.values()):
            if process.is_wanted and process.name != "redis":
                self.until(
                    lambda process=process: self._has_begun(process),  # type: ignore[misc]
                    what=f"{process.name} is ready",
                )

    @staticmethod
    def _has_begun(process: Process) -> bool:
        words = process.log.read_bytes()[process.log_begins :]
        return any(sign in words for sign in (b"ready.", b"beat: Starting"))

    def until(
        self, look: Callable[[], Found | None], *, what: str, seconds: float = LONGEST_SECONDS
    ) -> Found:
        """The first true answer of `look`; fails with the logs when `seconds` have passed."""
        ends = time.monotonic() + seconds
        while True:
            for process in self.processes.values():
                process.revive()
            if found := look():
                return found
            if time.monotonic() > ends:
                raise AssertionError(f"after {seconds:g} s still not: {what}\n{self.logs()}")
            time.sleep(POLL_SECONDS)

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(
            f"----- {one.name} (deaths: {one.deaths})\n{one.tail()}"
            for one in self.processes.values()
        )

    def entries(self) -> list[dict[str, Any]]:
        """What the handlers wrote down: one entry when a run began, one when it ended.

        A line that is being written as it is read may come in half (an append crosses a page of
        the file in two steps): it counts once it ends. Each is read once, for who waits asks often.
        """
        if self.journal.exists():
            with self.journal.open("rb") as journal:
                journal.seek(self._read_to)
                written, end, _ = journal.read().rpartition(b"\n")
            self._entries += [json.loads(line) for line in written.splitlines()]
            self._read_to += len(written + end)
        return list(self._entries)

    def blows(self) -> Counter[str]:
        """How often its processes were killed or paused, or died by themselves."""
        return sum((one.blows for one in self.processes.values()), self.forgotten.copy())

    def forget(self, name: str) -> None:
        """From now on the name is free for another process."""
        self.forgotten += self.processes.pop(name).blows

    def resume(self) -> None:
        """Let whatever a test has paused go on."""
        for process in self.processes.values():
            if process.is_alive():
                process.resume()

    def close(self) -> None:
        """End every process; workers first, Redis last."""
        for process in reversed(self.processes.values()):
            process.kill()
