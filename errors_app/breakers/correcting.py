"""Corrects the stored state of breakers that have closed without anybody writing that down.

The process whose word closed a breaker may end before it has stored that, and Redis forgets an
endpoint that nobody calls any more: its row would say open, and alerts with it, until somebody
calls it again.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from errors_app.breakers import recorder, store
from errors_app.breakers.store import Standing, Store, StoreAway
from errors_app.models import Breaker
from executions_app.states import BreakerStatus

PERIOD_SECONDS: Final = 60.0
AT_ONCE: Final = 100
# Until then whoever closed it is about to store that, and knows why.
SETTLED: Final = timedelta(seconds=10)


class Corrections:
    """A duty of a process that lives long: a look once a minute, mostly at an empty index."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._store: Store | None = None
        self._after = ""

    def make_when_due(self) -> None:
        """Correct once a minute; what Redis does not answer is left for the next time."""
        if time.monotonic() - self._looked_at >= PERIOD_SECONDS:
            self._looked_at = time.monotonic()
            self.make()

    def make(self) -> None:
        """Correct some of the rows that are not closed, and the next ones the next time."""
        rows = Breaker.objects.exclude(state=BreakerStatus.CLOSED)
        if self._after:
            rows = rows.filter(id__gt=self._after)
        found = list(rows.order_by("id").values_list("id", "key")[:AT_ONCE])
        self._after = str(found[-1][0]) if len(found) == AT_ONCE else ""
        if not found:
            return
        self._store = self._store or Store(store.client(), store.rules())
        try:
            standings = self._store.look([key for _, key in found])
        except StoreAway:
            return
        wrong = [one for one in standings.values() if is_settled(one)]
        if wrong:
            recorder.see(wrong, worker=recorder.worker())


def is_settled(standing: Standing) -> bool:
    """Whether Redis knows it as closed, and has for a while, or knows nothing of it."""
    if standing.state is not BreakerStatus.CLOSED:
        return False
    return standing.since is None or standing.at - standing.since >= SETTLED
