"""Looks by all rules at executions and what carries them on, in one process after the other.

Every beat and every worker has the thread, so that a beat that is gone is told by a worker and the
other way round. Who moves the one row of the round (compare-and-set, by PostgreSQL's clock) looks;
nobody holds anything meanwhile. It is never part of a beat's tick or of a worker's slice.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Collection, Sequence
from typing import Final

from django.db import OperationalError

from config.env import env
from errors_app.alerting import kinds, raising
from errors_app.alerting.findings import Finding, Scope, ask
from errors_app.alerting.looks import LOOKS
from errors_app.alerting.sending import Sender, talk
from errors_app.models_alerts import AlertKind, AlertRule
from executions_app import presence
from executions_app.database_errors import is_away, sqlstate
from executions_app.rounds import Rounds

TURNS: Final = 3  # in the time of one round each process asks so often whether it is due
MOST_PROBLEM: Final = 300
DISK_FULL: Final = "53100"
WIN: Final = """
INSERT INTO alert_round AS r (id, looked_at, looked_by) VALUES (1, now(), %(by)s)
ON CONFLICT (id) DO UPDATE SET looked_at = now(), looked_by = %(by)s
WHERE r.looked_at <= now() - %(seconds)s * interval '1 second' OR r.looked_at > now()
RETURNING id
"""

logger = logging.getLogger(__name__)


class Watch:
    """The thread of one process."""

    def __init__(self) -> None:
        seconds = min(5.0, env.alert_seconds / TURNS)
        self._rounds = Rounds("alerts", self.once, seconds=seconds)
        self._sender = Sender(on_done=self._rounds.wake)
        self._was_away_at = float("-inf")

    def begin(self) -> None:
        """Watch from now on; nothing if this process does already."""
        self._rounds.start()

    def end(self) -> None:
        """Look no more, and send nothing more; may be called from a signal handler."""
        self._rounds.stop(wait_seconds=0)

    def finish(self) -> None:
        """Write down what was sent; what is still being sent is sent again by another process."""
        self._sender.write_down()

    def once(self) -> None:
        """Write down what was sent, look if it is this process' turn, send what is due."""
        try:
            self._sender.write_down()
            if is_my_turn(seconds=env.alert_seconds):
                look_by_all(leave_out=self._cannot_tell_yet())
            self._sender.send_due()
        except OperationalError as error:
            self._was_away_at = time.monotonic()
            if sqlstate(error) == DISK_FULL:  # no row can say so, only the log
                talk.critical("PostgreSQL has no space left on its disk: %s", error)
            raise

    def _cannot_tell_yet(self) -> Collection[AlertKind]:
        """While PostgreSQL was away nobody could write that it lives; each gets time to do so."""
        quiet = time.monotonic() - self._was_away_at
        is_settled = quiet >= presence.until_gone().total_seconds()
        return () if is_settled else (AlertKind.PROCESS_GONE,)


def is_my_turn(*, seconds: float) -> bool:
    """Whether the round is due, and this process the first to take it."""
    by = f"{socket.gethostname()}:{os.getpid()}"
    return bool(ask(WIN, {"by": by, "seconds": seconds}))


def look_by_all(*, leave_out: Collection[AlertKind] = ()) -> None:
    """One look by every enabled rule; one that fails says so in its row and stops no other.

    Alerts of the kinds that are left out stay as they are.
    """
    for rule in AlertRule.objects.filter(enabled=True).exclude(kind__in=leave_out).order_by("id"):
        problem = _look_and_settle(rule)
        if problem != rule.problem:
            AlertRule.objects.filter(id=rule.id).update(problem=problem)
    raising.end_unwatched()


def _look_and_settle(rule: AlertRule) -> str:
    """Answers what kept it from being looked at, if anything did."""
    try:
        firing = raising.firing_keys(rule)
        raising.settle(rule, look_by(rule, firing=firing), asked_about=firing)
    except Exception as error:
        if is_away(error) or sqlstate(error) == DISK_FULL:
            raise
        logger.warning("Alert rule %r could not be looked at: %s", rule.name, error)
        return f"{type(error).__name__}: {error}"[:MOST_PROBLEM]
    return ""


def look_by(rule: AlertRule, *, firing: Sequence[str] = ()) -> list[Finding]:
    """What one rule finds now; `firing` are the keys of its alerts."""
    parameters = kinds.parameters(rule.kind, rule.parameters)
    scope = Scope(rule.schedule_id, rule.owner_id, firing)
    return LOOKS[AlertKind(rule.kind)](parameters, scope)


watch = Watch()
