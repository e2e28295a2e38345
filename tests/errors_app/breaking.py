"""Breakers as a process has them, for tests: each with an endpoint and a Redis view of its own.

Run as a program it is such a process: `python -m tests.errors_app.breaking VERB KEY ...`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import uuid4

import django
import pytest

PATIENCE_SECONDS: Final = 60.0

if __name__ == "__main__":
    django.setup()

from errors_app.breakers import local  # noqa: E402  Django comes first
from errors_app.breakers import store as redis_store  # noqa: E402
from errors_app.breakers.local import Breakers  # noqa: E402
from errors_app.breakers.recorder import Recorder  # noqa: E402
from errors_app.breakers.refusal import BreakerOpen  # noqa: E402
from errors_app.breakers.rules import Rules  # noqa: E402
from errors_app.breakers.script import PREFIX  # noqa: E402
from errors_app.breakers.store import Change, Standing, Store  # noqa: E402
from errors_app.taxonomy import ErrorClass, HandlerError  # noqa: E402

QUICK_TO_GIVE_UP: Final[dict[str, Any]] = {
    "socket_timeout": 0.25,
    "socket_connect_timeout": 0.25,
    "retry": None,
}
QUICK: Final = Rules(cooldown_ms=200, cooldown_most_ms=1_000)
DEAD: Final = HandlerError("no connection", error_class=ErrorClass.TRANSIENT)
SLOW: Final = Rules(cooldown_ms=60_000)
PATIENT_MS: Final = 60_000.0


class Listening(Recorder):
    """Keeps what it is told, and writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []
        self.seen: list[Standing] = []

    def record(self, change: Change) -> None:
        self.changes.append(change)

    def see(self, found: Sequence[Standing]) -> None:
        self.seen += found


def wait_for_redis(change: Callable[[object, str, object], object] = setattr) -> None:
    """As long as it takes: nobody here takes a machine that is busy for a Redis that is away."""
    for one in (redis_store, local):
        change(one, "WAIT_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def redis_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    redis_store.client.cache_clear()
    wait_for_redis(monkeypatch.setattr)
    yield
    redis_store.client.cache_clear()


_made: list[Breakers] = []


def endpoint() -> str:
    """A key that no other test has."""
    return f"http://{uuid4().hex}.test:80"


def a_process(rules: Rules = SLOW, recorder: Recorder | None = None) -> Breakers:
    """The breakers of one more process, as far as they are concerned."""
    made = Breakers(Store(redis_store.client(), rules), rules, recorder or Listening())
    _made.append(made)
    return made


def tell_nothing_more() -> None:
    """What processes have noted so far is not told any more, when the next test has begun."""
    while _made:
        for view in _made.pop()._views.values():
            with view.asking:  # nobody is telling it just now
                view.outcomes.clear()


def fail(breakers: Breakers, key: str, *, times: int = 1) -> None:
    """Calls that nobody answers."""
    for _ in range(times):
        call = breakers.call(key, seconds=5)
        call.__exit__(HandlerError, DEAD, None)


def succeed(breakers: Breakers, key: str, *, times: int = 1, status: int = 200) -> None:
    """Calls that are answered."""
    for _ in range(times):
        with breakers.call(key, seconds=5) as call:
            call.answered(status)


def is_refused(breakers: Breakers, key: str) -> bool:
    """True if a call is not made; one that is made says nothing."""
    try:
        with breakers.call(key, seconds=5):
            return False
    except BreakerOpen:
        return True


def may_probe(key: str) -> None:
    """The cooldown of an open one is over."""
    redis_store.client().hset(PREFIX + key, "next_probe", 1)


def until(look: Callable[[], bool], *, what: str) -> None:
    """Wait for what has to come."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < ends, f"still not: {what}"
        time.sleep(0.01)


def race(
    breakers: Breakers,
    key: str,
    *,
    threads: int,
    begin: Callable[[], object] = lambda: None,
    end: Callable[[int], object] = lambda _: None,
) -> int:
    """How many of so many threads may call, all at once; they stay in the call until the `end`."""
    barrier, over = threading.Barrier(threads + 1), threading.Event()
    admitted: list[int] = []
    refused: list[int] = []

    def run() -> None:
        barrier.wait()
        try:
            with breakers.call(key, seconds=60):
                admitted.append(1)
                over.wait(PATIENCE_SECONDS)
        except BreakerOpen:
            refused.append(1)

    runners = [threading.Thread(target=run) for _ in range(threads)]
    for one in runners:
        one.start()
    begin()
    barrier.wait()
    until(lambda: len(admitted) + len(refused) == threads, what="all have asked")
    end(len(admitted))
    over.set()
    for one in runners:
        one.join()
    return len(admitted)


def main(verb: str, key: str, rules: str) -> None:
    """What a test asks another process to do; each answer is one line of JSON."""
    wait_for_redis()
    listening = Listening()
    breakers = a_process(Rules(**json.loads(rules)), listening)
    say(redis_store.client().ping())
    sys.stdin.readline()
    if verb == "race":
        race(breakers, key, threads=50, end=say_and_wait)
        say([one.target for one in listening.changes])
    elif verb == "probe":
        with breakers.call(key, seconds=300):
            say("calls")
            sys.stdin.readline()
    else:
        say(is_refused(breakers, key))


def say_and_wait(word: object) -> None:
    say(word)
    sys.stdin.readline()


def say(word: object) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
