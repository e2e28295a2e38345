"""What beats do: create, queue, publish again, rescue what was lost, draw consequences."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from errors_app import rescuer
from errors_app.models import ErrorRecord
from executions_app import clock, ids, lifecycle, outbox
from executions_app.states import ExecutionStatus, RecoveryStatus
from scheduler_app import consequences
from tests import verbs
from tests.properties import rows
from tests.properties.machine import MOST, LedgerMachine
from tests.properties.model import Model

HOUR_MS: Final = 3_600_000  # a retry is due in an hour: only a person makes it due sooner
MAX_RETRIES: Final = 1
RNG: Final = random.Random(7)
OPEN: Final = (RecoveryStatus.RETRY_SCHEDULED, RecoveryStatus.RETRYING)


class Beats(LedgerMachine):
    """Every verb without a lease that works on whatever it finds."""

    @initialize(budgets=st.lists(st.integers(1, 3), min_size=3, max_size=3))
    def begin(self, budgets: list[int]) -> None:
        for one in budgets:
            self._create(ExecutionStatus.QUEUED, budget=one, due_in=timedelta())

    def create(self, chosen: Sequence[int], number: int) -> None:
        if len(self.models) < MOST:
            status = ExecutionStatus.QUEUED if chosen[0] % 2 else ExecutionStatus.PENDING
            due_in = timedelta(hours=1) if chosen[0] > MOST // 2 else timedelta()
            self._create(status, budget=number % 4, due_in=due_in)

    def _create(self, status: ExecutionStatus, *, budget: int, due_in: timedelta) -> None:
        now = clock.now()
        policy = {"max_retries": MAX_RETRIES, "base_ms": HOUR_MS, "cap_ms": HOUR_MS}
        new = lifecycle.NewExecution(
            id=ids.new(now),
            schedule_id=None,
            owner_id=self.owner_id,
            snapshot={
                "name": "a job",
                "task_type": "noop",
                "timeout_ms": HOUR_MS,
                "retry_policy": {**policy, "jitter": "none"},
            },
            trigger="time",
            due_at=now + due_in,
            priority="normal",
            max_attempts=budget,
            status=status,
        )
        with transaction.atomic():
            lifecycle.create([new])
        self.models[new.id] = Model(
            status.value, budget, retries=MAX_RETRIES, is_due=due_in == timedelta()
        )

    def queue_due(self, chosen: Sequence[int], _number: int) -> None:
        may = {
            id_
            for id_, one in self.models.items()
            if one.may_be_queued(recovery_runs=self.recovery_runs)
        }

        queued = {message.execution_id for message, _ in verbs.queue_due(limit=len(chosen))}

        assert queued <= may
        assert len(queued) == min(len(chosen), len(may))
        for one in queued:
            self.models[one].queue()

    def rescue(self, _chosen: Sequence[int], _number: int) -> None:
        lost = [one for one in self.models.values() if one.is_expired]

        assert rescuer.rescue_lost(rng=RNG) == len(lost)

        for one in lost:
            one.lose()

    def unpublish(self, chosen: Sequence[int], _number: int) -> None:
        named = set(map(self.one, chosen))
        queued = [one for one in named if self.models[one].status == "queued"]

        assert outbox.unpublish(list(named)) == len(queued)

        for one in queued:
            self.models[one].is_sent = False

    def publish_unsent(self, chosen: Sequence[int], _number: int) -> None:
        waiting = self._queued(is_sent=False)

        taken = {one.execution_id for one in outbox.unsent(limit=len(chosen))}

        assert taken <= waiting
        assert len(taken) == min(len(chosen), len(waiting))
        for one in taken:
            self.models[one].is_sent = True

    def publish_overdue(self, _chosen: Sequence[int], _number: int) -> None:
        overdue = outbox.overdue(limit=100, grace_seconds=0, queues=["normal"])

        assert {one.execution_id for one in overdue} == self._queued(is_sent=True)

    def _queued(self, *, is_sent: bool) -> set[UUID]:
        return {
            id_
            for id_, one in self.models.items()
            if one.status == "queued" and one.is_sent == is_sent
        }

    def draw(self, chosen: Sequence[int], _number: int) -> None:
        undrawn = sum(one.undrawn for one in self.models.values())

        drawn = consequences.draw(limit=len(chosen))

        assert drawn == min(len(chosen), undrawn)
        stored = rows.facts()
        for id_, one in self.models.items():
            left = stored[id_]["undrawn"]
            assert left <= one.undrawn
            if left < one.undrawn and one.status in {"completed", "cancelled"}:
                assert not ErrorRecord.objects.filter(
                    execution_id=id_, recovery_status__in=OPEN
                ).exists()
            one.undrawn = left
        assert sum(one.undrawn for one in self.models.values()) == undrawn - drawn
