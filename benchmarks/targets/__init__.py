"""Every target, in the order in which they are measured: a new one is a module and a line here.

Neighbours share the schedules they measure with, since making a million takes a minute.
"""

from __future__ import annotations

from typing import Final

from benchmarks.table import Target
from benchmarks.targets import (
    alone,
    arrivals,
    burst,
    calls,
    choosing,
    cycles,
    drain,
    due,
    idle,
    lone,
    processes,
    tenants,
    urgent,
)

ALL: Final[tuple[Target, ...]] = (
    drain.TARGET,
    alone.TARGET,
    due.ALL_DUE,
    idle.TARGET,
    due.FEW_DUE,
    burst.TARGET,
    lone.TARGET,
    calls.TARGET,
    urgent.TARGET,
    tenants.TARGET,
    cycles.ALONE,
    cycles.TOGETHER,
    choosing.TARGET,
    processes.TARGET,
    arrivals.TARGET,
)
BY_NAME: Final = {one.name: one for one in ALL}
