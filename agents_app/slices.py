"""What a worker took in one claim: executions to be run one after the other, and how they ended.

Two threads look at a slice: the one that runs it, and the heartbeat, which keeps the leases of all
its executions and gives back what waits behind a slow one. Whoever takes an execution or an
outcome out of it is the only one who has it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from agents_app.context import RunContext
from agents_app.handlers.base import Handler
from executions_app import refusals
from executions_app.ledger import Claimed, Leave

STORE_AFTER_SECONDS: Final = 0.05  # how long a finished execution may wait for the others
OVERRUN_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class Held:
    """One execution of a slice, from its claim until its outcome is stored."""

    __slots__ = (
        "claimed",
        "context",
        "handler",
        "is_cancelled",
        "is_cut",
        "is_ending",
        "is_handed_over",
        "is_lost",
        "seen_at",
        "thread",
    )

    def __init__(self, claimed: Claimed, *, claimed_at: float) -> None:
        self.claimed = claimed
        self.seen_at = claimed_at  # monotonic: when its lease was last known to be renewed
        self.context: RunContext[Any] | None = None
        self.handler: Handler[Any] | None = None
        self.thread = ""  # the name of the one that it runs in
        self.is_cancelled = claimed.cancel_requested
        self.is_ending = False
        self.is_handed_over = False  # True once its lease is a cycle's
        self.is_lost = False
        self.is_cut = False  # True if it was told to stop and somebody else records its attempt

    def start(self, handler: Handler[Any], context: RunContext[Any]) -> None:
        """Let the heartbeat reach the run; it hears at once what was said before."""
        self.thread = threading.current_thread().name
        self.handler, self.context = handler, context
        # Never back to False: the heartbeat may have told the context just now.
        if self.is_lost:
            context.is_lease_lost = True
        if self.is_cancelled:
            context.is_cancelled = True

    @property
    def seconds_over(self) -> float:
        """How long its deadline has passed; negative while there is time."""
        return self.context.seconds_over if self.context else float("-inf")

    def lose(self) -> None:
        """Tell the run, if it goes on, that the execution belongs to somebody else."""
        if self.is_lost or self.is_ending:
            return
        self.is_lost = True
        refusals.writes.add()
        logger.warning("The lease of execution %s is lost", self.claimed.id)
        if self.context:
            self.context.is_lease_lost = True
            self._tell_handler()

    def cut(self) -> None:
        """Tell the run to stop, for good; somebody else records the attempt."""
        self.is_cut = self.is_lost = True
        if self.context:
            self.context.is_lease_lost = True
            self._tell_handler()

    def stop(self) -> None:
        """Tell the run that somebody asked it to stop."""
        if self.is_cancelled:
            return
        self.is_cancelled = True
        if self.context:
            self.context.is_cancelled = True
            self._tell_handler()

    def _tell_handler(self) -> None:
        assert self.handler is not None
        assert self.context is not None
        try:
            self.handler.cancel(self.context)
        except BaseException:
            logger.exception("cancel() of the handler of %s failed", self.claimed.id)


def _begins_at(claimed: Claimed) -> float:
    return claimed.begins_at


class Slice:
    """The executions of one claim: unstarted, running, or ended and not stored yet."""

    def __init__(self, claimed: Sequence[Claimed], *, claimed_at: float) -> None:
        held = [Held(one, claimed_at=claimed_at) for one in sorted(claimed, key=_begins_at)]
        self._guard = threading.Lock()
        self.storing = threading.Lock()  # whoever takes outcomes has it until they are stored
        self._held: dict[UUID, Held] = {one.claimed.id: one for one in held}
        self._unstarted = deque(held)
        self._outcomes: list[tuple[Held, Leave]] = []
        self.is_punctual = False  # True once all of it has begun at an instant
        self.begin()

    def begin(self) -> None:
        """From now on the time counts."""
        self._stored_at = self._began_at = time.monotonic()

    def held(self) -> dict[UUID, Held]:
        """Everything whose lease is to be kept."""
        with self._guard:
            return dict(self._held)

    @property
    def seconds_early(self) -> float:
        """How long until the next execution may begin; at most 0 if it may, or if none is left."""
        with self._guard:
            if not self._unstarted:
                return 0.0
            return self._unstarted[0].claimed.begins_at - time.monotonic()

    @property
    def is_begun(self) -> bool:
        """True if nothing waits to be begun."""
        return not self._unstarted

    def next(self) -> Held | None:
        """The next execution to run; None when nothing is left."""
        with self._guard:
            return self._unstarted.popleft() if self._unstarted else None

    def keep(self, one: Held, outcome: Leave) -> None:
        """Put an outcome beside those that are stored together."""
        with self._guard:
            one.is_ending = True
            self._outcomes.append((one, outcome))

    def holds(self, one: Held) -> bool:
        """False once an execution is stored, or somebody else's."""
        with self._guard:
            return self._held.get(one.claimed.id) is one

    def forget(self, one: Held) -> None:
        """The execution is stored, or somebody else's."""
        with self._guard:
            one.is_ending = True
            self._held.pop(one.claimed.id, None)

    def take_outcomes(self) -> list[tuple[Held, Leave]]:
        """The outcomes that wait to be stored; the caller stores them."""
        with self._guard:
            taken, self._outcomes = self._outcomes, []
            self._stored_at = time.monotonic()
        return taken

    def put_back(self, outcomes: Sequence[tuple[Held, Leave]]) -> None:
        """Keep outcomes that could not be stored for the next try."""
        with self._guard:
            self._outcomes.extend(outcomes)

    def take_unstarted(self) -> list[Held]:
        """The executions that wait for their turn; the caller gives them back."""
        with self._guard:
            taken, self._unstarted = list(self._unstarted), deque()
            for one in taken:
                one.is_ending = True
        return taken

    def beyond(self, grace_seconds: float) -> list[Held]:
        """What still runs although its time limit passed that long ago."""
        held = self.held().values()
        return [one for one in held if one.seconds_over > grace_seconds and not one.is_ending]

    @property
    def is_to_be_stored(self) -> bool:
        """True once the first of the kept outcomes has waited long enough."""
        return time.monotonic() - self._stored_at > STORE_AFTER_SECONDS

    @property
    def is_overrunning(self) -> bool:
        """True if something takes far longer than was predicted while others wait behind it."""
        is_late = time.monotonic() - self._began_at > OVERRUN_SECONDS
        return is_late and bool(self._unstarted or self._outcomes)
