"""Endpoints that fail are left alone: what opens a breaker, who probes, and what Redis may do."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import asdict
from typing import cast
from uuid import uuid4

import pytest
import redis

from config.env import load
from errors_app.breakers import local
from errors_app.breakers import rules as judging
from errors_app.breakers import store as redis_store
from errors_app.breakers.local import Breakers, Call
from errors_app.breakers.refusal import BreakerOpen
from errors_app.breakers.rules import Rules, Verdict
from errors_app.breakers.script import PREFIX
from errors_app.breakers.store import Report, Store, StoreAway
from errors_app.taxonomy import (
    Cancelled,
    DeadlineExceeded,
    ErrorClass,
    HandlerError,
    LeaseLost,
    classify,
)
from executions_app.states import TRANSITIONS, BreakerStatus
from tests.errors_app.breaking import (
    DEAD,
    PATIENCE_SECONDS,
    PATIENT_MS,
    QUICK,
    QUICK_TO_GIVE_UP,
    SLOW,
    Listening,
    a_process,
    endpoint,
    fail,
    is_refused,
    may_probe,
    race,
    succeed,
    until,
)


def open_one(key: str, rules: Rules = SLOW) -> Breakers:
    breakers = a_process(rules)
    fail(breakers, key, times=rules.consecutive_failures)
    return breakers


def forget(key: str) -> None:
    redis_store.client().delete(PREFIX + key)


# What a call says of its endpoint


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (200, None, Verdict.SUCCESS),
        (302, None, Verdict.SUCCESS),
        (404, None, Verdict.SUCCESS),
        (429, None, Verdict.SUCCESS),
        (500, None, Verdict.FAILURE),
        (503, None, Verdict.FAILURE),
        (None, DEAD, Verdict.FAILURE),
        (200, DEAD, Verdict.FAILURE),
        (None, DeadlineExceeded("too late"), Verdict.FAILURE),
        (None, Cancelled("stop"), Verdict.NONE),
        (None, LeaseLost("gone"), Verdict.NONE),
        (None, MemoryError(), Verdict.NONE),
        (None, HandlerError("private address", error_class=ErrorClass.PERMANENT), Verdict.NONE),
        (302, HandlerError("redirects", error_class=ErrorClass.PERMANENT), Verdict.SUCCESS),
        (None, HandlerError("no HTTP", error_class=ErrorClass.MALFORMED), Verdict.NONE),
    ],
)
def test_only_an_endpoint_that_cannot_be_reached_or_breaks_has_failed(
    status: int | None, error: BaseException | None, said: Verdict
) -> None:
    assert judging.verdict(status, error, waited_ms=PATIENT_MS, rules=SLOW) is said


def test_a_status_that_the_caller_expects_is_no_failure() -> None:
    expected = frozenset({503})

    said = judging.verdict(503, None, waited_ms=1, rules=SLOW, expected=expected)

    assert said is Verdict.SUCCESS


@pytest.mark.parametrize(
    ("waited_ms", "said"), [(30, Verdict.NONE), (4_800, Verdict.NONE), (4_950, Verdict.FAILURE)]
)
@pytest.mark.parametrize("status", [None, 200])
def test_whoever_gave_up_before_five_seconds_says_nothing(
    status: int | None, waited_ms: float, said: Verdict
) -> None:
    late = DeadlineExceeded("too late")

    assert judging.verdict(status, late, waited_ms=waited_ms, rules=SLOW) is said


def test_a_lost_connection_is_a_failure_however_soon() -> None:
    assert judging.verdict(None, DEAD, waited_ms=1, rules=SLOW) is Verdict.FAILURE


def test_those_that_were_refused_together_come_back_one_after_the_other() -> None:
    rng = random.Random(7)

    waits = [judging.away_seconds(12.0, rules=SLOW, rng=rng) for _ in range(1_000)]

    assert 12.0 <= min(waits) < 13.0
    assert 71.0 < max(waits) <= 72.0
    assert len({round(one) for one in waits}) > 50


# What an installation may set


@pytest.mark.parametrize(
    ("setting", "value", "rule", "set_to"),
    [
        ("BREAKER_CONSECUTIVE_FAILURES", "3", "consecutive_failures", 3),
        ("BREAKER_FAILURE_RATE", "0.25", "failure_rate", 0.25),
        ("BREAKER_MIN_CALLS", "7", "min_calls", 7),
        ("BREAKER_WINDOW_SECONDS", "12.5", "window_ms", 12_500),
        ("BREAKER_COOLDOWN_SECONDS", "2.5", "cooldown_ms", 2_500),
        ("BREAKER_COOLDOWN_MAX_SECONDS", "45", "cooldown_most_ms", 45_000),
    ],
)
def test_each_setting_is_one_of_the_rules(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, rule: str, set_to: float
) -> None:
    monkeypatch.setattr(redis_store, "env", load())
    usual = redis_store.rules()
    monkeypatch.setenv(setting, value)
    monkeypatch.setattr(redis_store, "env", load())

    assert getattr(usual, rule) != set_to
    assert asdict(redis_store.rules()) == {**asdict(usual), rule: set_to}


def test_the_longest_cooldown_is_never_shorter_than_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BREAKER_COOLDOWN_SECONDS", "90")
    monkeypatch.setenv("BREAKER_COOLDOWN_MAX_SECONDS", "60")
    monkeypatch.setattr(redis_store, "env", load())

    assert redis_store.rules().cooldown_most_ms == 90_000


def test_breakers_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local.of_this_process() is not None
    monkeypatch.setenv("BREAKER_ENABLED", "false")
    monkeypatch.setattr(local, "env", load())

    assert local.of_this_process() is None


# What opens it


def test_failures_in_a_row_open_it_for_every_process() -> None:
    key, one, other = endpoint(), a_process(), a_process()
    fail(one, key, times=SLOW.consecutive_failures - 1)
    assert not is_refused(other, key)

    fail(one, key)

    assert is_refused(one, key)
    assert is_refused(a_process(), key)
    until(lambda: is_refused(other, key), what="the process that believed it closed has heard")


def test_failures_of_several_processes_are_one_row() -> None:
    key, processes = endpoint(), [a_process() for _ in range(SLOW.consecutive_failures)]

    for one in processes:
        fail(one, key)

    assert is_refused(a_process(), key)


def test_a_success_between_them_begins_a_new_row() -> None:
    key, breakers = endpoint(), a_process(Rules(min_calls=1_000))

    for _ in range(10):
        fail(breakers, key, times=SLOW.consecutive_failures - 1)
        succeed(breakers, key)

    assert not is_refused(a_process(), key)


def test_half_of_enough_calls_in_the_window_open_it() -> None:
    rules = Rules(consecutive_failures=100, min_calls=20, failure_rate=0.5, cooldown_ms=60_000)
    key, heard = endpoint(), Listening()
    breakers = a_process(rules, heard)

    for _ in range(9):
        fail(breakers, key)
        succeed(breakers, key)
    fail(breakers, key)
    assert not is_refused(breakers, key)
    fail(breakers, key)

    assert is_refused(breakers, key)
    (opening,) = heard.changes
    assert (opening.source, opening.target) == (BreakerStatus.CLOSED, BreakerStatus.OPEN)
    assert (opening.failures, opening.calls) == (11, 20)
    assert opening.reason == "11 of 20 calls in 60 s failed"


def test_what_lies_behind_the_window_does_not_count() -> None:
    rules = Rules(consecutive_failures=100, min_calls=3, window_ms=120, cooldown_ms=60_000)
    key, breakers = endpoint(), a_process(rules)
    fail(breakers, key, times=2)
    store = Store(redis_store.client(), rules)

    until(lambda: store.look([key])[key].calls == 0, what="the window has moved on")
    fail(breakers, key)

    assert not is_refused(breakers, key)


@pytest.mark.parametrize("status", [400, 404, 429])
def test_an_endpoint_that_answers_is_well_whatever_it_answers(status: int) -> None:
    key, breakers = endpoint(), a_process()

    succeed(breakers, key, times=50, status=status)

    assert not is_refused(breakers, key)


def test_one_endpoint_says_nothing_about_another() -> None:
    well, dead, breakers = endpoint(), endpoint(), a_process()

    fail(breakers, dead, times=SLOW.consecutive_failures)

    assert is_refused(breakers, dead)
    assert not is_refused(breakers, well)


# What an open one does


def test_a_refusal_names_the_endpoint_since_when_and_until_when() -> None:
    key = endpoint()
    breakers = open_one(key)

    with pytest.raises(BreakerOpen, match="too many calls failed") as caught:
        breakers.call(key, seconds=5)

    refused = caught.value
    assert key in str(refused)
    assert "last changed at 20" in str(refused)
    assert "the next probe may go at 20" in str(refused)
    assert refused.error_class is ErrorClass.TRANSIENT
    assert refused.retry_after is not None
    assert 55 < refused.retry_after <= 121
    told = cast(dict[str, str], refused.context["breaker"])
    assert (told["state"], told["reason"]) == ("open", "5 calls in a row failed")


def test_all_refusals_of_one_endpoint_are_one_kind_of_error() -> None:
    key = endpoint()
    breakers = open_one(key)
    found = [refused(breakers, key)]
    may_probe(key)
    with a_process().call(key, seconds=60) as call:
        found.append(refused(a_process(), key))
        call.answered(500)
    found.append(refused(a_process(), key))

    reasons = {str(cast(dict[str, str], one.context["breaker"])["reason"]) for one in found}
    assert reasons == {"5 calls in a row failed", "the cooldown is over", "the probe failed"}
    assert len({classify(one).fingerprint for one in found}) == 1


def refused(breakers: Breakers, key: str) -> BreakerOpen:
    with pytest.raises(BreakerOpen) as caught:
        breakers.call(key, seconds=5)
    return caught.value


def test_a_key_of_any_length_is_stored_in_a_bounded_one() -> None:
    host = "a" * 5_000 + uuid4().hex
    heard = Listening()
    breakers = a_process(SLOW, heard)

    fail(breakers, f"http://{host}.one:80", times=5)
    fail(breakers, f"http://{host}.two:80", times=5)

    keys = {one.key for one in heard.changes}
    assert len(keys) == 2
    assert max(len(one) for one in keys) <= 255
    assert is_refused(breakers, f"http://{host}.one:80")
    assert not is_refused(breakers, f"http://{host}.three:80")


def test_an_open_one_is_not_asked_for_by_every_call() -> None:
    key = endpoint()
    breakers = open_one(key)
    before = commands()

    for _ in range(1_000):
        assert is_refused(breakers, key)

    assert commands() - before < 50


def test_calls_that_began_before_it_opened_say_nothing_once_it_is_closed_again() -> None:
    key, breakers = endpoint(), a_process(QUICK)
    slow = [breakers.call(key, seconds=60) for _ in range(20)]
    fail(breakers, key, times=5)
    until(lambda: not is_refused(breakers, key), what="the probe may go")  # it says nothing
    until(lambda: probe(breakers, key, status=200), what="the probe closes it")

    for one in slow:
        one.__exit__(HandlerError, DEAD, None)

    assert not is_refused(breakers, key)
    assert not is_refused(a_process(), key)


def test_a_process_that_missed_a_change_reports_nothing_about_the_present() -> None:
    key, store = endpoint(), Store(redis_store.client(), SLOW)
    before = store.report(key, Report(calls=1)).generation
    open_one(key)
    store.reset(key, why="reset by anna")

    told = store.report(key, Report(before, calls=5, failures=5, trailing=5))

    assert (told.state, told.calls) == (BreakerStatus.CLOSED, 0)
    assert store.report(key, Report(told.generation, 5, 5, 5)).state is BreakerStatus.OPEN


def probe(breakers: Breakers, key: str, *, status: int) -> bool:
    try:
        succeed(breakers, key, status=status)
    except BreakerOpen:
        return False
    return True


# The probe


def test_the_probe_closes_it_and_the_next_failure_is_the_first_one() -> None:
    key, heard = endpoint(), Listening()
    breakers = a_process(QUICK, heard)
    fail(breakers, key, times=5)

    until(lambda: probe(breakers, key, status=200), what="the cooldown is over")
    fail(breakers, key, times=4)

    assert not is_refused(breakers, key)
    assert [one.target for one in heard.changes] == ["open", "half_open", "closed"]
    arrows = TRANSITIONS[BreakerStatus]
    assert all(one.target in arrows[one.source] for one in heard.changes)


def test_each_failed_probe_doubles_the_cooldown_up_to_its_cap() -> None:
    key, heard = endpoint(), Listening()
    rules = Rules(cooldown_ms=50, cooldown_most_ms=150)
    breakers = a_process(rules, heard)
    fail(breakers, key, times=5)

    for _ in range(3):
        until(lambda: probe(breakers, key, status=500), what="the cooldown is over")

    openings = [one for one in heard.changes if one.target is BreakerStatus.OPEN]
    waits = [(one.next_probe_at - one.at).total_seconds() for one in openings if one.next_probe_at]
    assert waits == pytest.approx([0.05, 0.1, 0.15, 0.15], abs=0.002)


def test_a_probe_that_says_nothing_leaves_its_place_to_the_next_call() -> None:
    key = endpoint()
    breakers = open_one(key, QUICK)

    until(lambda: not is_refused(breakers, key), what="the probe may go")  # says nothing

    until(lambda: probe(breakers, key, status=200), what="another one goes")
    assert not is_refused(a_process(), key)


def test_while_a_probe_is_out_nobody_else_calls() -> None:
    key, other = endpoint(), a_process()
    breakers = open_one(key)
    may_probe(key)

    prober = a_process()
    with prober.call(key, seconds=60) as call:
        refused = [is_refused(one, key) for one in (breakers, prober, other, a_process())]
        call.answered(200)

    assert refused == [True, True, True, True]
    assert not is_refused(a_process(), key)


def test_a_probe_that_never_ends_keeps_its_place_for_a_cooldown_at_most() -> None:
    key = endpoint()
    open_one(key, QUICK)
    lost = a_prober(key, QUICK)

    survivor = a_process(QUICK)
    until(lambda: probe(survivor, key, status=200), what="another probe goes")
    lost.__exit__(HandlerError, DEAD, None)

    assert not is_refused(a_process(QUICK), key)
    standing = Store(redis_store.client(), QUICK).look([key])[key]
    assert (standing.state, standing.failures) == (BreakerStatus.CLOSED, 0)


def test_a_failure_of_a_probe_that_lost_its_place_counts_for_nothing() -> None:
    key = endpoint()
    open_one(key, QUICK)
    late = a_prober(key, QUICK)
    present = a_prober(key, QUICK)

    late.__exit__(HandlerError, DEAD, None)

    store = Store(redis_store.client(), QUICK)
    standing = store.look([key])[key]
    assert (standing.state, standing.calls) == (BreakerStatus.HALF_OPEN, 5)
    present.answered(200)
    present.__exit__(None, None, None)
    assert store.look([key])[key].state is BreakerStatus.CLOSED


def test_a_success_of_a_probe_that_took_longer_than_its_place_closes_it() -> None:
    key = endpoint()
    open_one(key, QUICK)
    slow = a_prober(key, QUICK)
    present = a_prober(key, QUICK)

    slow.answered(200)
    slow.__exit__(None, None, None)
    present.__exit__(HandlerError, DEAD, None)

    assert not is_refused(a_process(QUICK), key)


def test_a_success_that_comes_after_another_probe_has_failed_closes_nothing() -> None:
    key = endpoint()
    open_one(key, QUICK)
    slow = a_prober(key, QUICK)
    a_prober(key, QUICK).__exit__(HandlerError, DEAD, None)

    slow.answered(200)
    slow.__exit__(None, None, None)

    standing = Store(redis_store.client(), QUICK).look([key])[key]
    assert standing.state is BreakerStatus.OPEN


def a_prober(key: str, rules: Rules) -> Call:
    """The call that is the probe, of a process of its own, as soon as there can be one."""
    prober, ends = a_process(rules), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        try:
            return prober.call(key, seconds=300)
        except BreakerOpen:
            time.sleep(0.01)
    raise AssertionError("no probe may go")


def test_of_fifty_threads_one_is_the_probe() -> None:
    key = endpoint()
    open_one(key)

    admitted = race(a_process(), key, threads=50, begin=lambda: may_probe(key))

    assert admitted == 1


# What it costs


def commands() -> int:
    info = redis_store.client().info("commandstats")
    return sum(
        int(info.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("evalsha", "eval")
    )


def test_calls_of_an_endpoint_that_is_well_hardly_ever_ask_redis() -> None:
    key, breakers = endpoint(), a_process()
    succeed(breakers, key)
    before = commands()

    succeed(breakers, key, times=2_000)

    assert commands() - before < 50


def test_successes_are_reported_without_another_call() -> None:
    key, breakers = endpoint(), a_process()
    store = Store(redis_store.client(), SLOW)

    succeed(breakers, key, times=100)

    until(lambda: store.look([key])[key].calls == 100, what="all calls are counted")
    assert store.look([key])[key].failures == 0


def test_a_thousand_threads_that_fail_at_once_lose_none_before_it_opens() -> None:
    rules = Rules(consecutive_failures=400, min_calls=10_000, cooldown_ms=60_000)
    key, breakers = endpoint(), a_process(rules)
    barrier = threading.Barrier(400)

    def run() -> None:
        barrier.wait()
        call = breakers.call(key, seconds=5)
        barrier.wait()
        call.__exit__(HandlerError, DEAD, None)

    threads = [threading.Thread(target=run) for _ in range(400)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert is_refused(a_process(rules), key)


# What Redis may do


def test_a_redis_that_was_emptied_leaves_it_closed() -> None:
    key, heard = endpoint(), Listening()
    breakers = a_process(SLOW, heard)
    fail(breakers, key, times=5)
    assert is_refused(breakers, key)

    forget(key)

    until(lambda: not is_refused(breakers, key), what="it is closed")
    assert key in {one.key for one in heard.seen if not one.is_known}
    fail(breakers, key, times=5)
    assert is_refused(breakers, key)


def test_without_redis_calls_go_on_and_it_is_asked_now_and_then_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    key, nobody = endpoint(), redis.Redis(port=1, **QUICK_TO_GIVE_UP)
    breakers = Breakers(Store(nobody, SLOW), SLOW, Listening())

    for _ in range(100):
        fail(breakers, key, times=10)
        succeed(breakers, key)

    assert not is_refused(breakers, key)
    said = [one for one in caplog.messages if "Redis does not answer" in one]
    assert len(said) == 1


def test_after_a_failure_redis_is_left_alone_for_a_moment() -> None:
    store = Store(redis.Redis(port=1, **QUICK_TO_GIVE_UP), SLOW)
    with pytest.raises(StoreAway, match="Redis did not answer: "):
        store.look(["a"])

    with pytest.raises(StoreAway, match="a moment ago"):
        store.look(["a"])


def test_a_reset_closes_it_at_once_and_others_within_a_second() -> None:
    key = endpoint()
    breakers = open_one(key)

    closing = Store(redis_store.client(), SLOW).reset(key, why="reset by anna").change

    assert closing is not None
    assert (closing.source, closing.target) == (BreakerStatus.OPEN, BreakerStatus.CLOSED)
    assert closing.reason == "reset by anna"
    until(lambda: not is_refused(breakers, key), what="the process has heard")
    fail(breakers, key, times=4)
    assert not is_refused(breakers, key)


def test_a_reset_of_a_closed_one_changes_nothing() -> None:
    assert Store(redis_store.client(), SLOW).reset(endpoint(), why="reset by anna").change is None


def test_its_clock_is_that_of_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    key = endpoint()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 45 * 86_400)
    open_one(key)
    monkeypatch.undo()

    standing = Store(redis_store.client(), SLOW).look([key])[key]

    assert standing.since is not None
    assert abs(standing.since.timestamp() - time.time()) < 60


def test_a_clock_that_was_ahead_leaves_nothing_open_for_days() -> None:
    key = endpoint()
    open_one(key)
    future = round((time.time() + 45 * 86_400) * 1000)
    redis_store.client().hset(PREFIX + key, mapping={"next_probe": future, "since": future})

    assert probe(a_process(), key, status=200)
    assert not is_refused(a_process(), key)


def test_a_state_that_nobody_understands_stops_no_call() -> None:
    key = endpoint()
    redis_store.client().hset(PREFIX + key, "state", "ajar")

    breakers = a_process()
    fail(breakers, key, times=20)

    assert not is_refused(breakers, key)
