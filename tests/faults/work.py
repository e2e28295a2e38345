"""How busy a process is that has nothing to do."""

from __future__ import annotations

import time
from typing import Final

import psutil

from tests.processes import System

MOST_BUSY: Final = 0.2
LOOKED_FOR_SECONDS: Final = 5.0


def share_of_a_processor(system: System, name: str) -> float:
    """What a process takes of one processor, over some seconds."""
    process = psutil.Process(system.processes[name].pid)
    began, before = time.monotonic(), process.cpu_times()
    ends = began + LOOKED_FOR_SECONDS
    system.until(lambda: time.monotonic() >= ends, what="the time is over")
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (time.monotonic() - began)
