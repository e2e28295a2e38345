"""Why an execution does not call its endpoint just now, and when it may try again."""

from __future__ import annotations

import random
import time
from datetime import datetime

from errors_app.breakers import rules as judging
from errors_app.breakers.beliefs import Belief
from errors_app.breakers.rules import Rules
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock


class BreakerOpen(HandlerError):
    """The endpoint fails, and is left alone until a probe goes well. Nothing was sent."""


def refusal(key: str, belief: Belief, *, rules: Rules, rng: random.Random) -> BreakerOpen:
    """The error of an execution that is refused; `retry_after` is spread over a cooldown.

    All refusals of one endpoint differ in instants only, so that they make one incident: its state
    and why it is in it change while it fails, and are in the context.
    """
    wait = max(0.0, belief.probe_at - time.monotonic())
    return BreakerOpen(
        f"{key} is left alone, since too many calls failed. Its breaker last changed at "
        f"{_clock(belief.since)}; the next probe may go at {_clock(belief.next_probe_at)}",
        error_class=ErrorClass.TRANSIENT,
        retry_after=judging.away_seconds(wait, rules=rules, rng=rng),
        breaker={
            "key": key,
            "state": belief.state.value,
            "since": belief.since.isoformat() if belief.since else None,
            "next_probe_at": belief.next_probe_at.isoformat() if belief.next_probe_at else None,
            "reason": belief.reason,
        },
    )


def _clock(instant: datetime | None) -> str:
    return f"{instant or clock.now():%Y-%m-%dT%H:%M:%SZ}"
