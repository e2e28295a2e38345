"""The ground of the state machines: models beside rows, and what is compared after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from hypothesis.stateful import RuleBasedStateMachine, invariant

from errors_app import handling
from executions_app import audit
from executions_app.ledger import Claimed
from executions_app.states import SchedulerException
from tests.properties import rows
from tests.properties.model import ENDED, Model

MOST: Final = 8


class LedgerMachine(RuleBasedStateMachine):
    """A few executions, each with its model, and every claim that was ever answered."""

    def __init__(self) -> None:
        super().__init__()
        rows.clear()
        handling.start_recovery(audit.SYSTEM)
        self.models: dict[UUID, Model] = {}
        self.claims: list[Claimed] = []
        self.refused: set[str] = set()
        self.recovery_runs = True
        self.owner_id = User.objects.get(username="owner").pk

    def one(self, which: int) -> UUID:
        """An execution: first those that have not ended, then those that have."""
        in_order = sorted(self.models, key=lambda id_: self.models[id_].status in ENDED)
        return in_order[which % len(in_order)]

    def claim_of(self, which: int) -> Claimed | None:
        """A claim: first the live ones, then the latest of those whose lease was lost."""
        newest_first = self.claims[::-1]
        in_order = sorted(newest_first, key=lambda one: not self._is_live(one))
        return in_order[which % min(len(in_order), MOST)] if in_order else None

    def _is_live(self, claimed: Claimed) -> bool:
        return self.models[claimed.id].is_held_by(claimed.lease_token)

    def must(
        self,
        write: Callable[[], object],
        *,
        succeed: bool,
        or_raise: type[SchedulerException],
        name: str,
    ) -> None:
        """Do what the model admits; what it refuses must raise and change not one column."""
        if succeed:
            write()
            return
        before = rows.whole()
        with pytest.raises(or_raise):
            write()
        assert rows.whole() == before
        self.refused.add(name)

    @invariant()
    def the_rows_say_what_the_models_say(self) -> None:
        facts = rows.facts()
        assert facts == {id_: one.facts() for id_, one in self.models.items()}
        for id_, stored in facts.items():
            assert stored["attempt"] == self.models[id_].tries
            assert stored["attempt"] <= stored["budget"]
            assert (stored["token"] is not None) == (stored["status"] == "running")

    @property
    def arrows(self) -> set[tuple[str, str]]:
        """The moves that were made, from state to state."""
        return {arrow for one in self.models.values() for arrow in one.path}
