"""Leases of processes that are gone, which run out at once: what follows is the product's own.

All others are long enough for a process that is off its processor for some seconds. How a lease
runs out by itself is seen in `test_workers`, where a worker is killed, and in `test_killing`.
"""

from __future__ import annotations

from typing import Final

import psutil
from django.db.models.functions import Now

from agents_app.models import Cycle
from executions_app.models import Execution, Step

GONE: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})


def lapse() -> None:
    """What is held by processes that were killed, or are paused, has run out of its lease."""
    of_cycles = Cycle.objects.filter(status="running").values("execution_id")
    for held in Execution.objects.filter(status="running").exclude(id__in=of_cycles):
        if _is_gone(held.worker_id):
            Execution.objects.filter(
                id=held.id, status="running", lease_token=held.lease_token
            ).update(lease_expires_at=Now())
    for step in Step.objects.filter(status="running"):
        if _is_gone(step.worker_id):
            Step.objects.filter(id=step.id, lease_token=step.lease_token).update(
                lease_expires_at=Now()
            )
            Cycle.objects.filter(execution_id=step.execution_id).update(look_at=Now())


def lapse_stages() -> None:
    """The same for stages of cycles, which name nobody: there is no worker at all just now."""
    held = Cycle.objects.filter(status="running", stage_token__isnull=False)
    held.update(stage_expires_at=Now(), look_at=Now())


def lives(pid: int) -> bool:
    """Whether there is such a process, and goes on."""
    try:
        return psutil.Process(pid).status() not in GONE
    except psutil.NoSuchProcess:
        return False


def _is_gone(worker_id: str) -> bool:
    return not lives(int(worker_id.split(":")[1]))
