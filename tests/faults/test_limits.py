"""Limits under three dispatchers at once, two of which keep dying: never exceeded, never stuck."""

from __future__ import annotations

from typing import Any, Final

import pytest
from django.db.models import Q

from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app import system as switch
from scheduler_app.limiting import limits
from tests.faults.failing_beats import FailingBeats
from tests.faults.nemesis import Nemesis
from tests.faults.sampling import Sampler, most_at_once
from tests.journeys.scenario import retries, schedule
from tests.processes import System

# `test_when` counts them too, and `tests/scheduler_app/test_holds_together` has three dispatchers.
pytestmark = [pytest.mark.fault, pytest.mark.long]

LIMIT: Final = 5
OF_EACH: Final = 100
KEYS: Final = ("key:one", "key:two")
POINTS: Final = ("releasing", "releasing held", "committed", "half sent", "drawing")
WORKERS: Final = ("worker-2", "worker-3")


def test_three_beats_never_admit_more_than_a_limit(system: System, nemesis: Nemesis) -> None:
    """300 executions, 100 under each limit, become due at once for three beats that start."""
    limits.put(limits.parse({"key": "key:*", "max_concurrent": LIMIT}), actor=SYSTEM)
    switch.stop(SYSTEM)
    system.beat().kill()
    words: dict[str, Any] = {"overlap_policy": "allow", "retry_policy": retries(5)}
    act = {"seconds": 0.05}
    own = schedule(act, **words, max_concurrent=LIMIT)
    keyed = [schedule(act, **words, limit_key=key.partition(":")[2]) for key in KEYS]
    for one in (own, *keyed):
        for _ in range(OF_EACH):
            schedules.trigger(one, actor=SYSTEM)
    due = Execution.objects.filter(schedule_id__in=[own.id, *(one.id for one in keyed)])
    assert due.filter(status="pending").count() == 3 * OF_EACH
    places = dict.fromkeys((*KEYS, f"schedule:{own.id}"), LIMIT)
    for name in WORKERS:
        system.worker(name, threads=8)
    failing = FailingBeats(system, seed=nemesis.seed, seconds=(0.2, 3.0))

    with Sampler(system.environment["DATABASE_URL"], places) as sampler:
        switch.start(SYSTEM)
        system.beat()
        dying = [failing.start(name, *POINTS) for name in ("beat-2", "beat-3")]
        system.until(
            lambda: not due.exclude(status="completed").exists(), what="all have run", seconds=120
        )
        for one_that_dies in dying:
            one_that_dies.kill()

    for name in WORKERS:
        system.processes[name].stop()
    limits.remove("key:*", actor=SYSTEM)
    assert sampler.exceeded() == []
    assert sampler.most == dict.fromkeys(places, LIMIT)  # there was something to hold back
    place_of = {str(one.id): one.limit_key or "own" for one in due}
    assert max(most_at_once(system.entries(), place_of).values()) <= LIMIT
    assert not due.filter(Q(attempt__gt=1) | ~Q(held_by="")).exists()
