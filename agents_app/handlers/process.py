"""One child process of an execution: started in its own group, read without deadlock, ended whole.

The leader is reaped last. Until then its id cannot be given to another process, so a signal to the
group can never hit a stranger. What leaves the group (setsid) leaves our reach.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

from agents_app.handlers.base import Context
from config.env import env

SLICE_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 2.0
REAP_SECONDS: Final = 5.0
GROUP_SECONDS: Final = 1.0
MOST_OUTPUT_BYTES: Final = 64 * 1024
READ_BYTES: Final = 64 * 1024


_places = threading.BoundedSemaphore(env.worker_max_processes)


@contextmanager
def place(context: Context[Any]) -> Iterator[None]:
    """One of the few places for programs in this worker; the wait for it takes no time.

    A worker may run a thousand executions that wait for the network, but not as many programs.
    Raises what `context.check` raises when the execution is to stop.
    """
    with context.waiting():
        while not _places.acquire(timeout=SLICE_SECONDS):
            context.check()
    try:
        yield
    finally:
        _places.release()


class Tail:
    """The last bytes of a stream that may have no end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self.is_truncated = False

    def add(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > self._max_bytes:
            self.is_truncated = True
            del self._kept[: -self._max_bytes]

    def text(self) -> str:
        return self._kept.decode(errors="replace")


class Process:
    """A running program; `wait` must be called, and leaves nothing of it behind.

    Raises OSError or ValueError if the program cannot be started.
    """

    def __init__(self, argv: Sequence[str], *, folder: str, environment: Mapping[str, str]) -> None:
        self.stdout, self.stderr = Tail(MOST_OUTPUT_BYTES), Tail(MOST_OUTPUT_BYTES)
        self._selector = selectors.DefaultSelector()
        self._exit_fd: int | None = None
        self._open = 0
        self.took: Any = None  # what `os.wait4` said of it, once it was reaped
        self.peak_bytes = 0  # of its memory, as far as that was seen while it ran
        try:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            self._selector.close()
            raise
        try:
            self._watch(self._popen.stdout, self.stdout)
            self._watch(self._popen.stderr, self.stderr)
            self._watch_exit()
        except BaseException:
            self._end()
            raise

    def wait(self, check: Callable[[], None]) -> int:
        """The exit code, negative for a signal; what `check` raises ends the whole group.

        `check` is called at least five times a second. Background children that the program
        leaves behind are ended with it.
        """
        try:
            while not self._has_ended():
                check()
                self._look_at_memory()
                self._read(SLICE_SECONDS)
            self._drain()
        finally:
            self._end()
        return self._popen.returncode

    def _watch(self, pipe: IO[bytes] | None, tail: Tail) -> None:
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_READ, tail)
        self._open += 1

    def _watch_exit(self) -> None:
        """Linux wakes us the moment the leader ends; elsewhere the slices have to do."""
        open_pidfd: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
        if open_pidfd is None:
            return
        try:
            self._exit_fd = open_pidfd(self._popen.pid)
        except OSError:
            return
        self._selector.register(self._exit_fd, selectors.EVENT_READ, None)

    def _has_ended(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._popen.pid, flags) is not None

    def _read(self, seconds: float) -> int:
        """Read what there is, waiting at most so long; answers how many bytes came."""
        size = 0
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                # Stays readable from now on; it would turn every later wait into a busy loop.
                self._selector.unregister(key.fileobj)
            else:
                size += self._read_pipe(key.fileobj, key.data)
        return size

    def _read_pipe(self, pipe: Any, tail: Tail) -> int:
        chunk = os.read(pipe.fileno(), READ_BYTES)
        if chunk:
            tail.add(chunk)
        else:
            self._selector.unregister(pipe)
            self._open -= 1
        return len(chunk)

    def _look_at_memory(self) -> None:
        """Linux keeps the peak, and forgets it when the program ends."""
        with suppress(OSError, ValueError), open(f"/proc/{self._popen.pid}/status") as status:  # noqa: PTH123  no path object five times a second
            peak = next((line for line in status if line.startswith("VmHWM:")), "VmHWM: 0 kB")
            self.peak_bytes = max(self.peak_bytes, int(peak.split()[1]) * 1024)

    def _drain(self) -> None:
        """What the program wrote before it ended; a pipe holds no more than its own size."""
        left = 16 * MOST_OUTPUT_BYTES
        while left > 0 and (size := self._read(0)):
            left -= size

    def _end(self) -> None:
        try:
            self._signal(signal.SIGTERM)
            ends = time.monotonic() + GRACE_SECONDS
            while self._is_alive() and (left := ends - time.monotonic()) > 0:
                self._read(min(left, SLICE_SECONDS))
            self._signal(signal.SIGKILL)
            self._reap()
            self._wait_for_the_group()
        finally:
            self._close()

    def _reap(self) -> None:
        """The kernel says what the leader took, and those that it had waited for itself."""
        ends = time.monotonic() + REAP_SECONDS
        while not self._has_ended():
            if time.monotonic() >= ends:
                raise subprocess.TimeoutExpired(self._popen.args, REAP_SECONDS)
            time.sleep(0.005)
        _, status, self.took = os.wait4(self._popen.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)

    def _wait_for_the_group(self) -> None:
        """Killed is not yet dead; an init that never reaps is not waited for without end."""
        ends = time.monotonic() + GROUP_SECONDS
        while time.monotonic() < ends:
            try:
                os.killpg(self._popen.pid, 0)  # asks whether it exists, sends nothing
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.005)

    def _is_alive(self) -> bool:
        """Whether the leader runs, or anybody who still holds its output."""
        return self._open > 0 or not self._has_ended()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._popen.pid, number)
        except (ProcessLookupError, PermissionError):
            # macOS says EPERM for a group of zombies; a set-uid child is beyond our reach.
            return

    def _close(self) -> None:
        self._selector.close()
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        if self._exit_fd is not None:
            os.close(self._exit_fd)
