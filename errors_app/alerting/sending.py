"""Carries notices about executions to their channels, each channel in a thread of its own.

These threads touch the network only: what became of a notice goes through a queue to the thread
that watches, which writes it down. A channel that hangs holds up its own notices and nobody's else.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from errors_app.alerting import apprise_door, notices
from errors_app.alerting.apprise_door import Refused
from errors_app.alerting.channels import LOG
from errors_app.alerting.notices import Claimed
from errors_app.models_alerts import NoticeEvent
from executions_app import encryption
from executions_app.wording import iso

ENOUGH_SECONDS: Final = notices.LEASE_SECONDS / 2  # what is left then is given back
TEST_BODY: Final = "This is a test of a channel of Cadenza: notices arrive here."

logger = logging.getLogger(__name__)
talk = logging.getLogger("cadenza.alerts")
"""The channel `log`."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One notice, ready to be sent."""

    claimed: Claimed
    title: str
    body: str


class NotTried:
    """There was no time for it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a notice; None: it was sent."""

    letter: Letter
    refused: Refused | NotTried | None


class Sender:
    """The threads of one process; `on_done` is called whenever there is a result to write down."""

    def __init__(
        self, *, on_done: Callable[[], None], enough_seconds: float = ENOUGH_SECONDS
    ) -> None:
        self._on_done, self._enough_seconds = on_done, enough_seconds
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._busy: set[UUID] = set()
        self._random = random.SystemRandom()

    def send_due(self) -> None:
        """Claim what is due and start on it; returns at once."""
        with self._guard:
            busy = list(self._busy)
        free = notices.MOST_CHANNELS - len(busy)
        if free <= 0:
            return
        by_channel: dict[UUID, list[Letter]] = defaultdict(list)
        for one in written(notices.claim(busy=busy, channels=free)):
            by_channel[one.claimed.channel_id].append(one)
        for channel_id, letters in by_channel.items():
            with self._guard:
                self._busy.add(channel_id)
            work = partial(self._carry, channel_id, letters)
            threading.Thread(target=work, name="alert-sender", daemon=True).start()

    def write_down(self) -> int:
        """Record what became of notices; answers of how many."""
        number = 0
        while True:
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                return number
            record(result, rng=self._random)
            number += 1

    def _carry(self, channel_id: UUID, letters: Sequence[Letter]) -> None:
        began = time.monotonic()
        try:
            for number, one in enumerate(letters):
                is_late = number > 0 and time.monotonic() - began >= self._enough_seconds
                self._results.put(Result(one, NotTried() if is_late else carry(one)))
        finally:
            with self._guard:
                self._busy.discard(channel_id)
            self._on_done()


def written(claimed: Sequence[Claimed]) -> list[Letter]:
    """The words of these notices."""
    alerts = notices.alerts_of(claimed)
    return [_letter(one, alerts.get(one.alert_id) if one.alert_id else None) for one in claimed]


def carry(letter: Letter) -> Refused | None:
    """Bring one notice to its channel; answers why not, or None."""
    claimed = letter.claimed
    if claimed.kind == LOG:
        talk.warning("%s\n%s", letter.title, letter.body)
        return None
    try:
        url = encryption.decrypt(claimed.ciphertext)
    except (encryption.Undecryptable, encryption.NoKeys) as error:
        return Refused(str(error))
    return apprise_door.send(url, title=letter.title, body=letter.body, event=claimed.event.value)


def record(result: Result, *, rng: random.Random) -> None:
    """Write down what became of one notice."""
    claimed = result.letter.claimed
    if result.refused is None:
        notices.sent(claimed)
        return
    if isinstance(result.refused, NotTried):
        notices.give_back(claimed)
        return
    reason = result.refused.reason
    logger.warning("Channel %r did not take a notice: %s", claimed.channel_name, reason)
    notices.not_sent(claimed, reason, rng=rng)


def _letter(claimed: Claimed, alert: tuple[Any, ...] | None) -> Letter:
    if claimed.event is NoticeEvent.TEST:
        return Letter(claimed, "Cadenza: test", TEST_BODY)
    if alert is None:
        return Letter(claimed, "Cadenza: an alert", "What it was about is not kept any more.")
    _, rule, kind, severity, message, first_seen_at, resolved_at, _ = alert
    since = f"Since {iso(first_seen_at)}"
    if claimed.event is NoticeEvent.RESOLVED:
        until = f" until {iso(resolved_at)}" if resolved_at else ""
        return Letter(claimed, f"Cadenza: over: {rule}", f"{message}\n{since}{until} ({kind})")
    return Letter(claimed, f"Cadenza: {severity}: {rule}", f"{message}\n{since} ({kind})")
