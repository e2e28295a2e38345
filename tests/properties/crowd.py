"""Threads that treat the same few executions at once, each with its own connection and dice."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

from django.db import connection

from errors_app import handling, recovery, rescuer
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import audit, lifecycle, outbox
from executions_app.ledger import Claimed
from executions_app.models import Execution
from executions_app.states import IllegalMove, LostRace
from scheduler_app import consequences
from tests import verbs
from tests.properties import rows

CLASSES: Final = (ErrorClass.TRANSIENT, ErrorClass.LOST, ErrorClass.PERMANENT)
WAYS_OUT: Final = ("complete", "fail", "stop", "hand_back")


class Crowd:
    """What its members were answered: every claim, and who was told that a way out was theirs."""

    def __init__(self, record: Callable[[], UUID], *, executions: int) -> None:
        self._record = record
        self.ids = [record() for _ in range(executions)]
        self.ended: list[UUID] = []
        self.claims: list[Claimed] = []
        self.won: list[tuple[str, Claimed]] = []
        self.refusals: Counter[str] = Counter()
        self.drawn = 0
        self._guard = threading.Lock()

    def run(self, *, members: int, acts: int, seed: int) -> None:
        def live(number: int) -> None:
            dice = random.Random(f"{seed}-{number}")
            try:
                for act in range(acts):
                    self._act(dice, name=f"{number}-{act}")
            finally:
                connection.close()

        with ThreadPoolExecutor(members) as pool:
            for future in [pool.submit(live, number) for number in range(members)]:
                future.result()

    def _act(self, dice: random.Random, *, name: str) -> None:
        verb = dice.choice(VERBS)
        try:
            verb(self, dice, name)
        except (LostRace, IllegalMove) as error:
            with self._guard:
                self.refusals[type(error).__name__] += 1

    def claim(self, dice: random.Random, name: str) -> None:
        chosen = dice.choices(self.ids, k=dice.choice([1, 1, 2, 4]))
        claimed = lifecycle.claim(chosen, worker_id=name)
        assert {one.worker_id for one in claimed} <= {name}
        with self._guard:
            self.claims += claimed

    def leave(self, dice: random.Random, _name: str) -> None:
        """A way out for one of the latest claims, which others may be leaving just now."""
        with self._guard:
            latest = self.claims[-4:]
        if not latest:
            return
        claimed, way = dice.choice(latest), dice.choice(WAYS_OUT)
        match way:
            case "complete":
                verbs.complete(claimed, output=1)
            case "fail":
                error = HandlerError("failed", error_class=dice.choice(CLASSES))
                recovery.recover(claimed, error, rng=dice)
            case "stop":
                verbs.cancelled(claimed)
            case "hand_back":
                verbs.hand_back(claimed)
        with self._guard:
            self.won.append((way, claimed))

    def tend(self, dice: random.Random, _name: str) -> None:
        with self._guard:
            latest = self.claims[-4:]
        if latest:
            lifecycle.renew({one.id: one.lease_token for one in latest})
            lifecycle.report_progress(dice.choice(latest), {"done": 1})

    def lose(self, dice: random.Random, _name: str) -> None:
        rows.expire(dice.choice(self.ids))
        rescuer.rescue_lost(rng=dice)

    def release(self, dice: random.Random, _name: str) -> None:
        rescuer.release(dice.choice(self.ids), actor=audit.SYSTEM, rng=dice)

    def cancel(self, dice: random.Random, _name: str) -> None:
        lifecycle.cancel(Execution.objects.get(id=dice.choice(self.ids)))

    def requeue(self, dice: random.Random, _name: str) -> None:
        for one in dice.sample(self.ids, len(self.ids)):
            execution = Execution.objects.get(id=one)
            if execution.status == "failed":
                handling.requeue_execution(execution, actor=audit.SYSTEM)

    def replace(self, dice: random.Random, _name: str) -> None:
        """A new execution in the place of one that has ended for good."""
        place = dice.randrange(len(self.ids))
        if Execution.objects.get(id=self.ids[place]).status in {"completed", "cancelled"}:
            fresh = self._record()
            with self._guard:
                self.ended.append(self.ids[place])
                self.ids[place] = fresh

    def beat(self, _dice: random.Random, _name: str) -> None:
        lifecycle.due_now(self.ids)
        verbs.queue_due(limit=100)
        outbox.unsent(limit=100)
        outbox.overdue(limit=100, grace_seconds=0, queues=["normal"])
        outbox.unpublish(self.ids[:2])
        drawn = consequences.draw(limit=2)
        with self._guard:
            self.drawn += drawn


VERBS: Final[tuple[Callable[[Crowd, random.Random, str], None], ...]] = (
    *(Crowd.claim, Crowd.claim, Crowd.claim, Crowd.leave, Crowd.leave, Crowd.leave),
    *(Crowd.tend, Crowd.lose, Crowd.release, Crowd.requeue, Crowd.requeue, Crowd.beat, Crowd.beat),
    *(Crowd.replace, Crowd.replace, Crowd.cancel),
)
