"""What workers do: claim, renew, report and end; also those that lost their lease long ago."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from uuid import UUID, uuid4

from errors_app import recovery
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids, lifecycle
from executions_app.ledger import Claimed
from executions_app.states import LostRace
from tests import verbs
from tests.properties import rows
from tests.properties.machine import LedgerMachine

RNG: Final = random.Random(7)
CLASSES: Final = tuple(ErrorClass)

Workers_ = TypeVar("Workers_", bound="Workers")


def of_a_claim(
    verb: Callable[[Workers_, Claimed, int], None],
) -> Callable[[Workers_, Sequence[int], int], None]:
    """Do `verb` as whoever was once given a claim, whether or not its lease is still held."""

    @functools.wraps(verb)
    def act(self: Workers_, chosen: Sequence[int], number: int) -> None:
        held = self.claim_of(chosen[0])
        if held is not None:
            verb(self, held, number)

    return act


class Workers(LedgerMachine):
    """Every verb that is fenced by a lease token, and the claim that gives it."""

    def claim_one(self, chosen: Sequence[int], _number: int) -> None:
        self._claim([self.one(chosen[0])])

    def claim_slice(self, chosen: Sequence[int], number: int) -> None:
        """A message that may name an execution twice, ended ones, and ids nobody knows."""
        now = clock.now()
        unknown = [ids.new(now) for _ in range(2 if number else 1)]
        self._claim([*unknown, *map(self.one, chosen)])

    def _claim(self, chosen: Sequence[UUID]) -> None:
        free = {one for one in chosen if one in self.models and self.models[one].is_claimable}

        claimed = lifecycle.claim(chosen, worker_id=f"worker-{len(self.claims)}")

        assert sorted(one.id for one in claimed) == sorted(free)
        tokens = {one.lease_token for one in self.claims + claimed}
        assert len(tokens) == len(self.claims) + len(claimed)
        stored = rows.facts()
        for one in claimed:
            model = self.models[one.id]
            assert one.attempt == model.attempt + 1
            assert one.cancel_requested == model.is_asked_to_stop
            size = stored[one.id]["slice_size"]
            assert len(claimed) <= size <= len(chosen)
            model.claim(one.lease_token, slice_size=size)
        self.claims += claimed

    @of_a_claim
    def report(self, held: Claimed, number: int) -> None:
        progress = {"done": number}
        self._write(
            lambda: lifecycle.report_progress(held, progress),
            succeed=self.models[held.id].report(held.lease_token, progress),
            name="report",
        )

    @of_a_claim
    def complete(self, held: Claimed, number: int) -> None:
        self._write(
            lambda: verbs.complete(held, output=number),
            succeed=self.models[held.id].complete(held.lease_token, result=number),
            name="complete",
        )

    @of_a_claim
    def fail(self, held: Claimed, number: int) -> None:
        error_class = CLASSES[number]
        error = HandlerError("the endpoint answered 503", error_class=error_class)
        self._write(
            lambda: recovery.recover(held, error, rng=RNG),
            succeed=self.models[held.id].fail(held.lease_token, error_class.value),
            name="fail",
        )

    @of_a_claim
    def stop(self, held: Claimed, _number: int) -> None:
        self._write(
            lambda: verbs.cancelled(held),
            succeed=self.models[held.id].stop(held.lease_token),
            name="stop",
        )

    @of_a_claim
    def hand_back(self, held: Claimed, _number: int) -> None:
        self._write(
            lambda: verbs.hand_back(held),
            succeed=self.models[held.id].hand_back(held.lease_token),
            name="hand_back",
        )

    @of_a_claim
    def ask(self, held: Claimed, _number: int) -> None:
        """A person is to say yes before anything is done."""
        self._write(
            lambda: verbs.ask(held),
            succeed=self.models[held.id].ask(held.lease_token),
            name="ask",
        )

    @of_a_claim
    def vanish(self, held: Claimed, _number: int) -> None:
        """Its lease ends without a renewal; the claim stays among those of late writers."""
        rows.expire(held.id)
        model = self.models[held.id]
        model.is_expired = model.status == "running"

    def _write(self, write: Callable[[], object], *, succeed: bool, name: str) -> None:
        self.must(write, succeed=succeed, or_raise=LostRace, name=name)

    def renew(self, chosen: Sequence[int], number: int) -> None:
        claims = [one for which in chosen if (one := self.claim_of(which + number))]
        leases = {one.id: one.lease_token for one in claims}

        kept = lifecycle.renew(leases)

        assert kept == {id_ for id_, token in leases.items() if self.models[id_].renew(token)}
        assert lifecycle.renew({id_: uuid4() for id_ in leases}) == set()
