"""What people do by hand: cancel, release, requeue, let go, approve, make due, stop recovery."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from django.db import transaction

from errors_app import handling, recovery, rescuer
from errors_app.models import DeadLetter
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import audit, clock, lifecycle, waiting
from executions_app.models import Execution
from executions_app.states import IllegalMove, LostRace, Outcome
from tests.properties.machine import LedgerMachine

RNG: Final = random.Random(7)


class People(LedgerMachine):
    """Every verb that names one execution and says no in words."""

    def release(self, chosen: Sequence[int], _number: int) -> None:
        execution_id = self.one(chosen[0])
        self._act(
            lambda: rescuer.release(execution_id, actor=audit.SYSTEM, rng=RNG),
            succeed=self.models[execution_id].lose(),
            name="release",
        )

    def cancel(self, chosen: Sequence[int], _number: int) -> None:
        execution_id = self.one(chosen[0])
        execution = Execution.objects.get(id=execution_id)
        self._act(
            lambda: lifecycle.cancel(execution),
            succeed=self.models[execution_id].cancel(),
            name="cancel",
        )

    def requeue(self, chosen: Sequence[int], _number: int) -> None:
        execution_id = self.one(chosen[0])
        execution = Execution.objects.get(id=execution_id)
        self._act(
            lambda: handling.requeue_execution(execution, actor=audit.SYSTEM),
            succeed=self.models[execution_id].requeue(),
            name="requeue",
        )

    def discard(self, chosen: Sequence[int], _number: int) -> None:
        execution_id = self.one(chosen[0])
        letter = DeadLetter.objects.filter(execution_id=execution_id).order_by("-id").first()
        if letter is not None:
            self._act(
                lambda: handling.discard(letter, actor=audit.SYSTEM),
                succeed=self.models[execution_id].discard(),
                name="discard",
            )

    def approve(self, chosen: Sequence[int], _number: int) -> None:
        execution_id = self.one(chosen[0])
        self.must(
            lambda: waiting.go_on(execution_id),
            succeed=self.models[execution_id].approve(),
            or_raise=LostRace,
            name="approve",
        )

    def refuse(self, chosen: Sequence[int], _number: int) -> None:
        execution_id = self.one(chosen[0])
        self.must(
            lambda: self._refuse(execution_id),
            succeed=self.models[execution_id].refuse(),
            or_raise=LostRace,
            name="refuse",
        )

    def _refuse(self, execution_id: UUID) -> None:
        execution = Execution.objects.get(id=execution_id)
        error = HandlerError("somebody said no", error_class=ErrorClass.PERMANENT)
        by = audit.Actor("owner", self.owner_id)
        with transaction.atomic():
            now = clock.now()
            recovery.refuse(execution, error, outcome=Outcome.REJECTED, actor=by, now=now)

    def _act(self, write: Callable[[], object], *, succeed: bool, name: str) -> None:
        self.must(write, succeed=succeed, or_raise=IllegalMove, name=name)

    def make_due(self, chosen: Sequence[int], _number: int) -> None:
        execution_id = self.one(chosen[0])
        model = self.models[execution_id]

        moved = lifecycle.due_now([execution_id])

        assert moved == (model.status == "pending")
        model.is_due = model.is_due or bool(moved)

    def switch_recovery(self, _chosen: Sequence[int], _number: int) -> None:
        self.recovery_runs = not self.recovery_runs
        if self.recovery_runs:
            handling.start_recovery(audit.SYSTEM)
        else:
            handling.stop_recovery(audit.SYSTEM)
