"""Breakers between real processes: one probe of them all, processes and a Redis that die."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from config import embedded_redis
from errors_app.breakers import store as redis_store
from errors_app.breakers.local import Breakers
from errors_app.breakers.refusal import BreakerOpen
from errors_app.breakers.rules import Rules
from errors_app.breakers.store import Store, StoreAway
from executions_app.states import BreakerStatus
from tests.errors_app.breaking import (
    QUICK_TO_GIVE_UP,
    SLOW,
    Listening,
    a_process,
    endpoint,
    fail,
    is_refused,
    may_probe,
    redis_is_waited_for,  # noqa: F401  a fixture
    succeed,
    until,
)
from tests.faults.nemesis import Nemesis

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("redis_is_waited_for")]

ROOT: Final = Path(__file__).resolve().parents[2]
SOON: Final = Rules(cooldown_ms=2_000)


@contextmanager
def other_process(verb: str, key: str, rules: Rules = SLOW) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "tests.errors_app.breaking", verb, key, json.dumps(asdict(rules))]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def answer(child: subprocess.Popen[str]) -> Any:
    assert child.stdout is not None
    return json.loads(child.stdout.readline())


def test_of_fifty_threads_in_each_of_three_processes_one_is_the_probe() -> None:
    key = endpoint()
    children = [other_process("race", key) for _ in range(3)]

    with children[0] as first, children[1] as second, children[2] as third:
        everybody = (first, second, third)
        assert [answer(child) for child in everybody] == [True] * 3
        fail(a_process(), key, times=5)
        may_probe(key)
        for child in everybody:
            go(child)
        admitted = [answer(child) for child in everybody]
        for child in everybody:
            go(child)
        changes = [change for child in everybody for change in answer(child)]

    assert sum(admitted) == 1
    assert changes == ["half_open"]


def test_a_process_that_dies_with_the_probe_blocks_nobody_for_longer_than_a_cooldown(
    nemesis: Nemesis,
) -> None:
    """Its call had five minutes; nobody waits for them."""
    key = endpoint()
    fail(a_process(SOON), key, times=5)
    store = Store(redis_store.client(), SOON)

    with other_process("probe", key, SOON) as child:
        assert answer(child) is True
        may_probe(key)
        go(child)
        assert answer(child) == "calls"
        until(lambda: store.look([key])[key].state is BreakerStatus.HALF_OPEN, what="it probes")
        assert store.look([key])[key].wait_seconds <= SOON.cooldown_ms / 1000
        child.kill()
        child.wait()
        nemesis.strikes("process killed")

    survivor = a_process(SOON)
    until(lambda: answers_now(survivor, key), what="another probe goes")
    assert store.look([key])[key].state is BreakerStatus.CLOSED


def answers_now(breakers: Breakers, key: str) -> bool:
    try:
        succeed(breakers, key)
    except BreakerOpen:
        return False
    return True


def test_another_process_refuses_at_once_what_failed_in_this_one() -> None:
    key = endpoint()

    with other_process("ask", key) as child:
        assert answer(child) is True
        fail(a_process(), key, times=5)
        go(child)
        answered = answer(child)

    assert answered is True


def test_a_redis_that_was_killed_and_comes_back_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nemesis: Nemesis
) -> None:
    monkeypatch.setattr(redis_store, "PAUSE_SECONDS", 0.1)
    key, port = endpoint(), free_port()
    store = Store(redis.Redis(port=port, **QUICK_TO_GIVE_UP), SLOW)
    breakers = Breakers(store, SLOW, Listening())
    with redis_server(port, tmp_path):
        until(lambda: answers(store), what="Redis answers")
        until(lambda: failed_until_refused(breakers, key), what="it opens")
    nemesis.strikes("Redis killed")
    until(lambda: not is_refused(breakers, key), what="calls go on without Redis")

    with redis_server(port, tmp_path):
        until(lambda: answers(store), what="Redis answers again")
        until(lambda: failed_until_refused(breakers, key), what="it opens again")


def failed_until_refused(breakers: Breakers, key: str) -> bool:
    if is_refused(breakers, key):
        return True
    fail(breakers, key)
    return False


def answers(store: Store) -> bool:
    try:
        store.look(["any"])
    except StoreAway:
        return False
    return True


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def redis_server(port: int, folder: Path) -> Iterator[None]:
    """A Redis that keeps nothing, killed in the end."""
    argv = [str(embedded_redis.find_program()), "--port", str(port), "--bind", "127.0.0.1"]
    quiet = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    with subprocess.Popen([*argv, *quiet], stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()
