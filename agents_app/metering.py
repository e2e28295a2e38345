"""What an execution takes of the machine while it runs: processor, memory, disk.

The kernel counts for each thread, so that neighbours in the same process do not count; memory
belongs to the process as a whole. Programs that a handler starts are counted when they are reaped.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any, Final, NamedTuple

from executions_app.ledger import Usage

KB: Final = 1024
BLOCK_BYTES: Final = 512
MAXRSS_BYTES: Final = 1 if sys.platform == "darwin" else KB


class Meter:
    """Counts for the thread that makes it, from then on; asked by the same thread."""

    __slots__ = ("_before", "_programs")

    def __init__(self) -> None:
        self._before = _of_this_thread()
        self._programs: list[_Count] = []

    def add(self, program: Any, *, peak_bytes: int) -> None:
        """Count a program that has ended, by what `os.wait4` says of it and what was seen before.

        On Linux a program inherits the peak of the process that starts it: what `os.wait4` says of
        memory means something only beyond that.
        """
        said = _count(program)
        is_its_own = said.peak_bytes > _of_this_thread().peak_bytes
        peak = said.peak_bytes if is_its_own else peak_bytes
        self._programs.append(said._replace(peak_bytes=peak))

    def usage(self) -> Usage:
        """What was taken so far."""
        now, before = _of_this_thread(), self._before
        own = now._replace(
            cpu_seconds=now.cpu_seconds - before.cpu_seconds,
            blocks_read=now.blocks_read - before.blocks_read,
            blocks_written=now.blocks_written - before.blocks_written,
        )
        parts = [own, *self._programs]
        return Usage(
            cpu_ms=round(sum(one.cpu_seconds for one in parts) * 1000, 1),
            peak_memory_kb=max(one.peak_bytes for one in self._programs or parts) // KB,
            read_kb=sum(one.blocks_read for one in parts) * BLOCK_BYTES // KB,
            written_kb=sum(one.blocks_written for one in parts) * BLOCK_BYTES // KB,
        )


class _Count(NamedTuple):
    cpu_seconds: float
    peak_bytes: int
    blocks_read: int
    blocks_written: int


def _count(said: Any) -> _Count:
    return _Count(
        said.ru_utime + said.ru_stime,
        said.ru_maxrss * MAXRSS_BYTES,
        said.ru_inblock,
        said.ru_oublock,
    )


def _of_this_thread() -> _Count:
    of_a_thread = getattr(resource, "RUSAGE_THREAD", None)
    if of_a_thread is not None:
        return _count(resource.getrusage(of_a_thread))
    of_the_process = _count(resource.getrusage(resource.RUSAGE_SELF))
    return _Count(time.thread_time(), of_the_process.peak_bytes, 0, 0)
