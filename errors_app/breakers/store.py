"""What Redis says about the endpoints that executions call; while it is away, nothing.

Every wait is bounded, and after a failure Redis is left alone for a moment, so that calls go on at
their own pace: breakers save time, nothing depends on them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import redis
from django.conf import settings

from config.env import env
from errors_app.breakers.rules import Rules, Verdict
from errors_app.breakers.script import PREFIX, SCRIPT
from executions_app.states import BreakerStatus

WAIT_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 2.0
AT_ONCE: Final = 500
CONNECTIONS: Final = 8  # whoever finds none in time is as one who got no answer

logger = logging.getLogger(__name__)


class StoreAway(ConnectionError):
    """Redis did not answer, now or a moment ago."""


@dataclass(frozen=True, slots=True)
class Report:
    """What calls of one endpoint showed; `trailing`: failures since the last success."""

    generation: int = 0
    calls: int = 0
    failures: int = 0
    trailing: int = 0
    latency_ms: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One change of state, with the calls in the window that led to it."""

    key: str
    source: BreakerStatus
    target: BreakerStatus
    reason: str
    calls: int
    failures: int
    at: datetime
    next_probe_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One endpoint as Redis knows it; `calls` to `latency_ms` are those of the window.

    `wait_seconds`: until the next probe may go. `is_probe`: whoever asked is to be it. `change`:
    what this very question or report brought about.
    """

    key: str
    state: BreakerStatus
    generation: int
    at: datetime
    since: datetime | None
    next_probe_at: datetime | None
    wait_seconds: float
    is_probe: bool
    is_known: bool
    calls: int
    failures: int
    latency_ms: int
    streak: int
    reason: str
    change: Change | None


def rules() -> Rules:
    """The installation's."""
    return Rules(
        consecutive_failures=env.breaker_consecutive_failures,
        failure_rate=env.breaker_failure_rate,
        min_calls=env.breaker_min_calls,
        window_ms=round(env.breaker_window_seconds * 1000),
        cooldown_ms=round(env.breaker_cooldown_seconds * 1000),
        cooldown_most_ms=round(
            max(env.breaker_cooldown_seconds, env.breaker_cooldown_max_seconds) * 1000
        ),
    )


@cache
def client() -> redis.Redis:
    """This process' connections, with bounded waits; threads may share them."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.REDIS_BROKER_URL,
        max_connections=CONNECTIONS,
        timeout=WAIT_SECONDS,
        socket_timeout=WAIT_SECONDS,
        socket_connect_timeout=WAIT_SECONDS,
        retry=None,
    )
    return redis.Redis(connection_pool=pool)


class Store:
    """The breakers' side of Redis, for one process."""

    def __init__(self, client: redis.Redis, rules: Rules) -> None:
        self._client = client
        self._script = client.register_script(SCRIPT)
        self._rules = (
            *(rules.consecutive_failures, rules.failure_rate, rules.min_calls),
            *(rules.window_ms, rules.cooldown_ms, rules.cooldown_most_ms),
        )
        self._asks_again_at = float("-inf")
        self._is_away = False

    def report(self, key: str, report: Report) -> Standing:
        """Tell what calls showed; raises StoreAway, as all of these do."""
        return self._one(key, "report", report=report)

    def ask(self, key: str, *, token: str, seconds: float) -> Standing:
        """Ask to be the probe; its place is kept for `seconds`, but for no more than a cooldown.

        So whoever dies with it blocks no longer.
        """
        return self._one(key, "ask", token=token, token_ms=round(seconds * 1000))

    def end_probe(
        self, key: str, verdict: Verdict, *, token: str, generation: int, latency_ms: int
    ) -> Standing:
        """Tell how the probe went. One that says nothing leaves its place to the next call."""
        is_failure, is_said = verdict is Verdict.FAILURE, verdict is not Verdict.NONE
        report = Report(
            generation=generation,
            calls=int(is_said),
            failures=int(is_failure),
            trailing=int(is_failure),
            latency_ms=latency_ms,
        )
        return self._one(key, verdict.value, token=token, report=report)

    def reset(self, key: str, *, why: str) -> Standing:
        """Close it, whatever it showed."""
        return self._one(key, "reset", token=why)

    def exchange(self, reports: Sequence[tuple[str, Report]]) -> list[Standing]:
        """The same as `report` for many endpoints, in few round trips."""
        found: list[Standing] = []
        for start in range(0, len(reports), AT_ONCE):
            some = reports[start : start + AT_ONCE]
            found += self._answers(
                (key, self._arguments("report", report=report)) for key, report in some
            )
        return found

    def look(self, keys: Iterable[str]) -> dict[str, Standing]:
        """How these stand."""
        found = self.exchange([(key, Report()) for key in keys])
        return {one.key: one for one in found}

    def _one(self, key: str, verb: str, **given: Any) -> Standing:
        arguments = self._arguments(verb, **given)
        return understood(key, self._carefully(self._script, [PREFIX + key], arguments))

    def _answers(self, asked: Iterable[tuple[str, Sequence[Any]]]) -> list[Standing]:
        keys = []
        pipeline = self._client.pipeline(transaction=False)
        for key, arguments in asked:
            keys.append(key)
            self._script([PREFIX + key], arguments, client=pipeline)
        with pipeline:
            answers = self._carefully(pipeline.execute)
        return [understood(key, answer) for key, answer in zip(keys, answers, strict=True)]

    def _arguments(
        self, verb: str, *, token: str = "", token_ms: int = 0, report: Report = Report()
    ) -> tuple[Any, ...]:
        counted = (report.generation, report.calls, report.failures, report.trailing)
        return (verb, token, token_ms, *counted, report.latency_ms, *self._rules)

    def _carefully(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        now = time.monotonic()
        if now < self._asks_again_at:
            raise StoreAway("Redis did not answer a moment ago")
        if self._is_away:  # one tries whether it is back, for all
            self._asks_again_at = now + PAUSE_SECONDS
        try:
            answer = ask(*arguments)
        except (redis.RedisError, OSError) as error:
            self._asks_again_at = time.monotonic() + PAUSE_SECONDS
            if not self._is_away:
                logger.warning("Redis does not answer; no breaker is open until it does: %s", error)
            self._is_away = True
            raise StoreAway(f"Redis did not answer: {error}") from error
        self._is_away, self._asks_again_at = False, float("-inf")
        return answer


def understood(key: str, answer: Sequence[Any]) -> Standing:
    """The script's answer; raises StoreAway for one that no version of it that is known gives."""
    try:
        return standing(key, answer)
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreAway(f"Redis answered what nobody here understands: {error}") from error


def standing(key: str, answer: Sequence[Any]) -> Standing:
    """The script's answer, understood."""
    state, generation, now, since, next_at, is_probe, is_known, *counted = answer
    calls, failures, latency_ms, streak, reason, source, at_change, failed_at_change = counted
    seen = Standing(
        key=key,
        state=BreakerStatus(state.decode()),
        generation=generation,
        at=_instant(now),
        since=_instant(since) if since else None,
        next_probe_at=_instant(next_at) if next_at else None,
        wait_seconds=max(0.0, (next_at - now) / 1000),
        is_probe=bool(is_probe),
        is_known=bool(is_known),
        calls=calls,
        failures=failures,
        latency_ms=latency_ms,
        streak=streak,
        reason=reason.decode(),
        change=None,
    )
    if not source:
        return seen
    change = _change(seen, source=source.decode(), calls=at_change, failures=failed_at_change)
    return replace(seen, change=change)


def _change(seen: Standing, *, source: str, calls: int, failures: int) -> Change:
    return Change(
        key=seen.key,
        source=BreakerStatus(source),
        target=seen.state,
        reason=seen.reason,
        calls=calls,
        failures=failures,
        at=seen.at,
        next_probe_at=seen.next_probe_at,
    )


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
