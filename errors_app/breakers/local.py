"""Asked before every call that an execution makes, and told how it went: the breakers' front.

A call of an endpoint that is well costs no question to Redis: what this process believes serves for
a second, a thread of its own renews it once in that time for the endpoints in use and reports the
successes along the way. A failure is reported at once, and so is a probe's end. Whatever Redis
does, a call goes on; only an open breaker stops it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from config.env import env
from errors_app.breakers import rules as judging
from errors_app.breakers import store as redis_store
from errors_app.breakers.beliefs import BELIEVED_SECONDS, Belief, Outcome, View
from errors_app.breakers.recorder import Recorder
from errors_app.breakers.refusal import refusal
from errors_app.breakers.rules import Rules, Verdict
from errors_app.breakers.store import WAIT_SECONDS, Standing, Store, StoreAway
from executions_app.states import BreakerStatus

RENEW_SECONDS: Final = 0.7 * BELIEVED_SECONDS
SEEN_SECONDS: Final = 3600.0
MOST_VIEWS: Final = 10_000
GRACE_SECONDS: Final = 1.0  # from a probe's time limit until its place is free
MOST_OF_KEY: Final = 255  # characters; a host name may have 253

logger = logging.getLogger(__name__)
_random = random.SystemRandom()


class Call:
    """One call of an endpoint: entered before, left after, told of its answer between."""

    __slots__ = ("_began", "_breakers", "_expected", "_generation", "_status", "_token", "_view")

    def __init__(
        self, breakers: Breakers, view: View, *, token: str, expected: frozenset[int]
    ) -> None:
        self._breakers, self._view, self._token = breakers, view, token
        self._generation = view.belief.generation
        self._expected = expected
        self._status: int | None = None
        self._began = time.monotonic()

    def answered(self, status: int) -> None:
        """An answer has begun to arrive."""
        self._status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        latency_ms = (time.monotonic() - self._began) * 1000
        verdict = judging.verdict(
            self._status,
            error,
            waited_ms=latency_ms,
            rules=self._breakers.rules,
            expected=self._expected,
        )
        if self._token:
            self._breakers.end_probe(
                self._view,
                verdict,
                token=self._token,
                generation=self._generation,
                latency_ms=round(latency_ms),
            )
        elif verdict is not Verdict.NONE:
            is_failure = verdict is Verdict.FAILURE
            self._view.outcomes.append(Outcome(self._generation, is_failure, latency_ms))
            if is_failure:
                self._breakers.failed(self._view)


class Breakers:
    """The breakers of one process. Used by many threads."""

    def __init__(self, store: Store, rules: Rules, recorder: Recorder) -> None:
        self._store, self.rules, self._recorder = store, rules, recorder
        self._views: dict[str, View] = {}
        self._guard = threading.Lock()
        self._is_needed = threading.Event()
        self._renewer: threading.Thread | None = None

    def call(self, key: str, *, seconds: float, expected: frozenset[int] = frozenset()) -> Call:
        """A call of the endpoint `key` that lasts `seconds` at most.

        `expected`: answers from 500 on that are no failures. Raises BreakerOpen.
        """
        view = self._views.get(key) or self._new_view(bounded(key))
        if time.monotonic() >= view.belief.until:
            self._renew(view)
        view.is_used = True
        if not self._is_needed.is_set():
            self._is_needed.set()
        token = ""
        if view.belief.state is not BreakerStatus.CLOSED:
            token = self._become_probe(view, seconds=seconds)
        return Call(self, view, token=token, expected=expected)

    def failed(self, view: View) -> None:
        """A call that failed is among the outcomes: tell everybody, unless they know already."""
        if view.belief.state is BreakerStatus.CLOSED and view.asking.acquire(timeout=WAIT_SECONDS):
            try:
                if view.outcomes:  # else another thread has told of it along with its own
                    self._ask(view, lambda: self._store.report(view.key, view.drain()))
            finally:
                view.asking.release()

    def end_probe(
        self, view: View, verdict: Verdict, *, token: str, generation: int, latency_ms: int
    ) -> None:
        """How the probe went; if Redis does not hear of it, its place is free after a while."""
        self._ask(
            view,
            lambda: self._store.end_probe(
                view.key, verdict, token=token, generation=generation, latency_ms=latency_ms
            ),
        )

    def _new_view(self, key: str) -> View:
        with self._guard:
            if len(self._views) >= MOST_VIEWS:
                self._views = {k: one for k, one in self._views.items() if one.outcomes}
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._run, name="breakers", daemon=True)
                self._renewer.start()
            return self._views.setdefault(key, View(key))

    def _renew(self, view: View) -> None:
        """Ask Redis. While another thread does, go by what was believed, if anything was.

        To wait for its answer as well would cost a thousand threads more than the calls that a few
        of them make meanwhile.
        """
        if view.asking.acquire(blocking=False):
            try:
                self._ask(view, lambda: self._store.report(view.key, view.drain()))
            finally:
                view.answered.set()
                view.asking.release()
        elif not view.answered.is_set():
            view.answered.wait(WAIT_SECONDS)

    def _become_probe(self, view: View, *, seconds: float) -> str:
        """The token of the one probe; raises BreakerOpen for everybody else, at once."""
        if time.monotonic() >= view.belief.probe_at and view.asking.acquire(blocking=False):
            token = uuid4().hex
            limit = seconds + GRACE_SECONDS
            try:
                standing = self._ask(
                    view, lambda: self._store.ask(view.key, token=token, seconds=limit)
                )
            finally:
                view.asking.release()
            if standing is None or standing.state is BreakerStatus.CLOSED:
                return ""
            if standing.is_probe:
                return token
        raise refusal(view.key, view.belief, rules=self.rules, rng=_random)

    def _ask(self, view: View, ask: Callable[[], Standing]) -> Standing | None:
        asked_at = time.monotonic()
        try:
            standing = ask()
        except StoreAway:
            self._believe_closed(view, asked_at=asked_at)
            return None
        self._learn(view, standing, asked_at=asked_at)
        return standing

    def _learn(self, view: View, standing: Standing, *, asked_at: float) -> None:
        has_forgotten = not standing.is_known and view.belief.state is not BreakerStatus.CLOSED
        view.believe(Belief.of(standing, asked_at=asked_at))
        if standing.change is not None:
            self._recorder.record(standing.change)
        if has_forgotten:
            self._recorder.see([standing])

    @staticmethod
    def _believe_closed(view: View, *, asked_at: float) -> None:
        until = time.monotonic() + BELIEVED_SECONDS
        generation = view.belief.generation
        view.believe(Belief(generation=generation, asked_at=asked_at, until=until))

    def _run(self) -> None:
        while True:
            self._is_needed.wait()
            self._is_needed.clear()
            try:
                self._renew_all()
            except Exception:
                logger.exception("The breakers could not be renewed; the next round tries again")
            time.sleep(RENEW_SECONDS)

    def _renew_all(self) -> None:
        used = [one for one in list(self._views.values()) if one.is_used or one.outcomes]
        if not used:
            return
        for view in used:
            view.is_used = False
        asked_at = time.monotonic()
        try:
            found = self._store.exchange([(view.key, view.drain()) for view in used])
        except StoreAway:
            for view in used:
                self._believe_closed(view, asked_at=asked_at)
            return
        for view, standing in zip(used, found, strict=True):
            self._learn(view, standing, asked_at=asked_at)
        self._note_seen(used, found)

    def _note_seen(self, used: list[View], found: list[Standing]) -> None:
        """Once an hour: that these endpoints exist."""
        now = time.monotonic()
        new = []
        for view, standing in zip(used, found, strict=True):
            if now - view.seen_at >= SEEN_SECONDS:
                view.seen_at = now
                new.append(standing)
        if new:
            self._recorder.see(new)


def bounded(key: str) -> str:
    """The key, if need be cut and told apart by its hash: a URL may name a host of any length."""
    if len(key) <= MOST_OF_KEY:
        return key
    return f"{key[:200]}...{hashlib.sha256(key.encode()).hexdigest()[:32]}"


@lru_cache(maxsize=1)
def _of_process(pid: int) -> Breakers:
    del pid
    rules = redis_store.rules()
    return Breakers(Store(redis_store.client(), rules), rules, Recorder())


def of_this_process() -> Breakers | None:
    """The breakers of this process, a forked child's its own; None if they are switched off."""
    return _of_process(os.getpid()) if env.breaker_enabled else None
