"""What people do by hand: cancel, release a lease, requeue, let go, make due, stop recovery."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from errors_app import handling, rescuer
from errors_app.models import DeadLetter
from executions_app import audit, lifecycle
from executions_app.models import Execution
from executions_app.states import IllegalMove
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
