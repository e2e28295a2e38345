"""Programs that outlived their worker: found by the mark in their environment, and ended.

A worker that is killed cannot end what it started. Two lines of defence: the kernel ends the
program with the thread that waits for it (Linux), and whoever tries the execution again first ends
what an earlier attempt left on this machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from typing import Final
from uuid import UUID

import psutil

MARK: Final = "CADENZA_EXECUTION_ID"
END_SECONDS: Final = 2.0


@cache
def leash() -> tuple[str, ...]:
    """What to put before a command so that it dies with its worker; empty where there is none."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def end(execution_id: UUID) -> int:
    """End what earlier attempts of an execution left running here; answers how many there were."""
    left = list(_marked(str(execution_id)))
    for process in left:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(left, timeout=END_SECONDS)
    return len(left)


def _marked(execution_id: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == execution_id:
                yield process
        except (psutil.Error, OSError):
            continue
