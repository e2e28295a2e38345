"""Within the measured installation: many agents at work, of whom one is chosen for a cycle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import cycle as around
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection, transaction

from agents_app import selection
from agents_app.models import Agent, Cycle, CycleStage, Provider
from agents_app.objects import agents, providers
from agents_app.selection import Requirements
from benchmarks.cycle_verbs import NAME
from executions_app import clock, ids
from executions_app.audit import SYSTEM

CAPABILITY: Final = "measured"
PLACES: Final = 5
NOBODYS_URL: Final = "http://127.0.0.1:9/v1"  # nobody is asked anything


def choose(*, many: int, running: int, count: int) -> dict[str, Any]:
    """So often an agent out of `many`, while so many cycles run; each choice in milliseconds.

    A choice is the whole of `selection.take`: it counts, locks, writes and is committed. The cycle
    that was given a place is removed before the next choice.
    """
    with _at_work(many, running):
        needs = Requirements(capabilities=(CAPABILITY,))
        return {"took_ms": [_chosen_in_ms(needs) for _ in range(count)]}


def _chosen_in_ms(needs: Requirements) -> float:
    waits = _cycle(None)
    waits.save(force_insert=True)
    began = time.perf_counter()
    chosen = selection.take(needs, cycle_id=waits.id)
    took_ms = (time.perf_counter() - began) * 1000
    if chosen is None:
        raise LookupError("no agent had a place left")
    Cycle.objects.filter(id=waits.id).delete()
    return took_ms


@contextmanager
def _at_work(many: int, running: int) -> Iterator[None]:
    """So many agents, and running cycles spread over them; none of it is left behind."""
    _forget()
    try:
        with transaction.atomic():
            providers.create({"name": NAME, "base_url": NOBODYS_URL}, actor=SYSTEM)
            made = [_agent(number) for number in range(many)]
            Cycle.objects.bulk_create(_cycle(one) for one in islice(around(made), running))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE agents, cycles")
        yield
    finally:
        _forget()


def _agent(number: int) -> UUID:
    words = {
        "name": f"{NAME}-{number}",
        "provider": NAME,
        "model": NAME,
        "capabilities": [CAPABILITY],
        "max_concurrent": PLACES,
    }
    return agents.create(words, actor=SYSTEM).id


def _cycle(agent_id: UUID | None) -> Cycle:
    now = clock.now()
    return Cycle(
        id=ids.new(now),
        execution_id=ids.new(now),
        owner_id=_owner_id(),
        agent_id=agent_id,
        token=ids.new(now),
        stage=CycleStage.WAIT if agent_id is None else CycleStage.EXECUTE,
        deadline=now + timedelta(hours=1),
    )


@cache
def _owner_id() -> int:
    return int(get_user_model().objects.get(username=NAME).pk)


def _forget() -> None:
    for rows in (Cycle, Agent, Provider):
        rows._default_manager.all().delete()  # noqa: SLF001  the manager whatever its name
