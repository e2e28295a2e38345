"""What is stored of endpoints that fail, and what people see and do: REST, terminal, admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from errors_app.breakers import correcting, recorder
from errors_app.breakers import store as redis_store
from errors_app.breakers.correcting import Corrections
from errors_app.breakers.local import Breakers
from errors_app.breakers.recorder import Recorder
from errors_app.breakers.script import PREFIX
from errors_app.breakers.store import Change, Store
from errors_app.models import Breaker, BreakerTransition
from executions_app import clock, ids, retention
from executions_app.models import AuditEntry, Event
from executions_app.permissions import OPERATOR
from executions_app.states import BreakerStatus
from tests.errors_app.breaking import (
    QUICK_TO_GIVE_UP,
    SLOW,
    Listening,
    a_process,
    endpoint,
    fail,
    succeed,
    until,
)
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in
from tests.terminal import run

BREAKERS = "/api/breakers"


@pytest.fixture
def caller(db: None) -> APIClient:
    user = UserFactory.create()
    user.groups.add(Group.objects.create(name=OPERATOR))
    return signed_in(user)


def opened(key: str | None = None) -> Breaker:
    """A breaker that is open, in Redis and in the tables."""
    listening = Listening()
    breakers = a_process(SLOW, listening)
    chosen = key or endpoint()
    fail(breakers, chosen, times=5)
    for change in listening.changes:
        recorder.record(change, worker="worker-1")
    return Breaker.objects.get(key=chosen)


def well() -> Breaker:
    """An endpoint that was called and is well."""
    breakers, key = a_process(), endpoint()
    store = Store(redis_store.client(), SLOW)
    succeed(breakers, key, times=4)
    until(lambda: store.look([key])[key].calls == 4, what="its calls are counted")
    recorder.see([store.look([key])[key]], worker="worker-1")
    return Breaker.objects.get(key=key)


def change(key: str, target: BreakerStatus, *, after: float = 0.0, **given: Any) -> Change:
    sources = {
        BreakerStatus.OPEN: BreakerStatus.CLOSED,
        BreakerStatus.HALF_OPEN: BreakerStatus.OPEN,
        BreakerStatus.CLOSED: BreakerStatus.HALF_OPEN,
    }
    words = {
        "key": key,
        "source": sources[target],
        "target": target,
        "reason": "5 calls in a row failed",
        "calls": 7,
        "failures": 5,
        "at": clock.now() + timedelta(seconds=after),
        "next_probe_at": None,
    }
    return Change(**{**words, **given})


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = redis.Redis(port=1, **QUICK_TO_GIVE_UP)
    monkeypatch.setattr(redis_store, "client", lambda: nobody)


# What is stored


@pytest.mark.django_db
def test_a_change_of_state_is_a_row_a_state_and_an_event() -> None:
    made = change(endpoint(), BreakerStatus.OPEN)

    recorder.record(made, worker="worker-1")

    (row,) = BreakerTransition.objects.all()
    assert (row.key, row.from_state, row.to_state) == (made.key, "closed", "open")
    assert (row.failures, row.calls, row.at, row.worker) == (5, 7, made.at, "worker-1")
    breaker = Breaker.objects.get(key=made.key)
    assert (breaker.state, breaker.since, breaker.opened_count) == ("open", made.at, 1)
    event = Event.objects.get(type="breaker:opened")
    assert event.topic == f"breaker:{made.key}"
    assert event.data["state"] == "open"


@pytest.mark.django_db
def test_of_two_changes_that_arrive_in_the_wrong_order_the_later_one_stands() -> None:
    key = endpoint()

    recorder.record(change(key, BreakerStatus.CLOSED, after=2), worker="worker-1")
    recorder.record(change(key, BreakerStatus.HALF_OPEN, after=1), worker="worker-2")

    assert Breaker.objects.get(key=key).state == "closed"
    assert BreakerTransition.objects.filter(key=key).count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_change_is_no_part_of_the_transaction_in_which_it_happened() -> None:
    made = change(endpoint(), BreakerStatus.OPEN)

    with transaction.atomic():
        Recorder().record(made)
        transaction.set_rollback(True)

    until(lambda: Breaker.objects.filter(key=made.key).exists(), what="it is stored")


def test_a_change_that_cannot_be_stored_is_logged_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Recorder().record(CHANGE)  # in a test that may not ask the database

    until(lambda: "could not be stored" in caplog.text, what="it is logged")
    assert f"The breaker of {CHANGE.key} is open (was closed)" in caplog.text


@pytest.mark.django_db
def test_what_redis_has_forgotten_is_closed_in_the_tables_once() -> None:
    row = opened()
    redis_store.client().delete(PREFIX + row.key)
    standing = Store(redis_store.client(), SLOW).look([row.key])[row.key]

    recorder.see([standing], worker="worker-1")
    recorder.see([standing], worker="worker-2")

    told = list(BreakerTransition.objects.filter(key=row.key).order_by("at"))
    assert [(one.to_state, one.worker) for one in told] == [
        ("open", "worker-1"),
        ("closed", "worker-1"),
    ]
    assert told[1].reason == "Redis has lost its state"


@pytest.mark.django_db
def test_a_state_of_a_clock_that_was_set_back_since_does_not_stay() -> None:
    key, seen = endpoint(), endpoint()
    for one in (key, seen):
        recorder.record(change(one, BreakerStatus.OPEN, after=3_600), worker="worker-1")

    recorder.record(change(key, BreakerStatus.CLOSED), worker="worker-1")
    standing = Store(redis_store.client(), SLOW).look([seen])[seen]
    recorder.see([standing], worker="worker-1")

    assert set(Breaker.objects.values_list("key", "state")) == {(key, "closed"), (seen, "closed")}


@pytest.mark.django_db
def test_what_was_closed_by_one_that_could_not_store_it_is_corrected_by_itself() -> None:
    forgotten, reset, still = opened(), opened(), opened()
    redis_store.client().delete(PREFIX + forgotten.key)
    Store(redis_store.client(), SLOW).reset(reset.key, why="reset by anna")
    redis_store.client().hset(PREFIX + reset.key, "since", 1_000)  # long ago

    Corrections().make()

    states = dict(Breaker.objects.values_list("key", "state"))
    assert states == {forgotten.key: "closed", reset.key: "closed", still.key: "open"}
    told = BreakerTransition.objects.filter(to_state="closed").values_list("key", "reason")
    assert dict(told) == {
        forgotten.key: "Redis has lost its state",
        reset.key: "it was closed before, which was not stored",
    }


@pytest.mark.django_db
def test_what_was_closed_just_now_is_left_to_whoever_closed_it() -> None:
    row = opened()
    Store(redis_store.client(), SLOW).reset(row.key, why="reset by anna")

    Corrections().make()

    row.refresh_from_db()
    assert row.state == "open"


@pytest.mark.django_db
def test_more_of_them_than_one_look_holds_are_corrected_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(correcting, "AT_ONCE", 2)
    rows = sorted((opened() for _ in range(5)), key=lambda one: one.id)
    redis_store.client().delete(*(PREFIX + one.key for one in rows[3:]))
    corrections = Corrections()

    for _ in range(3):
        corrections.make()

    states = list(Breaker.objects.order_by("id").values_list("state", flat=True))
    assert states == ["open", "open", "open", "closed", "closed"]


@pytest.mark.django_db
def test_one_look_a_minute_at_nothing_is_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    well()
    corrections = Corrections()

    with django_assert_num_queries(1):
        for _ in range(3):
            corrections.make_when_due()


@pytest.mark.django_db
def test_without_redis_nothing_is_corrected(away: None) -> None:
    recorder.record(change(endpoint(), BreakerStatus.OPEN), worker="worker-1")

    Corrections().make()

    assert Breaker.objects.get().state == "open"


@pytest.mark.django_db
def test_one_that_is_open_stays_so_in_the_tables_when_it_is_seen() -> None:
    row = opened()
    standing = Store(redis_store.client(), SLOW).look([row.key])[row.key]

    recorder.see([standing], worker="worker-2")

    row.refresh_from_db()
    assert row.state == "open"


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_that_is_called_is_known_soon() -> None:
    breakers = Breakers(Store(redis_store.client(), SLOW), SLOW, Recorder())
    key = endpoint()

    succeed(breakers, key)

    until(lambda: Breaker.objects.filter(key=key, state="closed").exists(), what="it is stored")


@pytest.mark.django_db
def test_transitions_go_after_30_days_and_endpoints_30_days_after_their_last_call() -> None:
    now = clock.now()
    long_ago, lately = now - timedelta(days=31), now - timedelta(days=29)
    for key, made, seen in (
        ("gone", long_ago, long_ago),
        ("old", long_ago, lately),
        ("new", lately, lately),
    ):
        Breaker.objects.create(id=ids.new(made), key=key, seen_at=seen)
        told = {"from_state": "closed", "to_state": "open", "reason": "", "failures": 5, "calls": 5}
        BreakerTransition.objects.create(id=ids.new(made), key=key, at=made, **told)

    retention.apply(now)

    assert set(Breaker.objects.values_list("key", flat=True)) == {"old", "new"}
    assert set(BreakerTransition.objects.values_list("key", flat=True)) == {"new"}


CHANGE = Change(
    key="http://nowhere.test:80",
    source=BreakerStatus.CLOSED,
    target=BreakerStatus.OPEN,
    reason="",
    calls=5,
    failures=5,
    at=datetime(2026, 11, 21, 10, tzinfo=UTC),
    next_probe_at=None,
)


# Over HTTP


def test_the_list_shows_how_every_endpoint_is_doing(caller: APIClient) -> None:
    row, healthy = opened(), well()

    page = caller.get(BREAKERS).json()

    shown = {one["key"]: one for one in page["results"]}
    broken, fine = shown[row.key], shown[healthy.key]
    assert (broken["state"], broken["is_live"]) == ("open", True)
    assert (broken["calls"], broken["failures"], broken["failures_in_row"]) == (5, 5, 5)
    assert broken["success_rate"] == 0.0
    assert broken["reason"] == "5 calls in a row failed"
    assert broken["since"] < broken["next_probe_at"]
    assert [one["to_state"] for one in broken["transitions"]] == ["open"]
    assert (fine["state"], fine["calls"], fine["success_rate"]) == ("closed", 4, 1.0)
    assert fine["latency_ms"] >= 0


def test_a_list_of_many_costs_as_many_queries_as_one_of_few(
    caller: APIClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(12):
        opened()

    with django_assert_max_num_queries(7):
        assert len(caller.get(BREAKERS).json()["results"]) == 12


@pytest.mark.parametrize(
    ("query", "found"), [("state=open,half_open", 1), ("state=closed", 1), ("key=nobody", 0)]
)
def test_a_list_holds_what_its_filters_name(caller: APIClient, query: str, found: int) -> None:
    opened()
    well()

    assert len(caller.get(f"{BREAKERS}?{query}").json()["results"]) == found


def test_one_is_found_by_its_endpoint(caller: APIClient) -> None:
    row = opened()
    well()

    assert ids_of(caller.get(f"{BREAKERS}?key={row.key}").json()) == [str(row.id)]
    assert caller.get(f"{BREAKERS}/{row.id}").json()["key"] == row.key


def test_without_redis_the_last_state_that_was_stored_is_shown(
    caller: APIClient, away: None
) -> None:
    key = endpoint()
    recorder.record(change(key, BreakerStatus.OPEN), worker="worker-1")

    (shown,) = caller.get(BREAKERS).json()["results"]

    assert (shown["state"], shown["is_live"], shown["calls"]) == ("open", False, None)


def test_a_reset_lets_calls_go_out_again_and_is_audited(caller: APIClient) -> None:
    row = opened()

    answer = caller.post(f"{BREAKERS}/{row.id}/reset", {"note": "the disk is free again"})

    assert (answer.status_code, answer.json()["state"]) == (200, "closed")
    fail(a_process(), row.key)
    entry = AuditEntry.objects.get(action="breaker.reset")
    assert (entry.object_id, entry.note) == (str(row.id), "the disk is free again")
    told = BreakerTransition.objects.filter(key=row.key).order_by("-at")[0]
    assert (told.to_state, told.reason) == ("closed", f"reset by {entry.actor}")


def test_a_reset_without_redis_is_refused_and_says_when_to_try_again(
    caller: APIClient, away: None
) -> None:
    key = endpoint()
    recorder.record(change(key, BreakerStatus.OPEN), worker="worker-1")
    row = Breaker.objects.get(key=key)

    answer = caller.post(f"{BREAKERS}/{row.id}/reset")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"]
    assert not AuditEntry.objects.filter(action="breaker.reset").exists()


@pytest.mark.django_db
def test_only_operators_see_and_reset_them() -> None:
    row, stranger = opened(), signed_in(UserFactory.create())

    answers = [
        stranger.get(BREAKERS),
        stranger.get(f"{BREAKERS}/{row.id}"),
        stranger.post(f"{BREAKERS}/{row.id}/reset"),
    ]

    assert [one.status_code for one in answers] == [403, 403, 403]
    assert {one.json()["code"] for one in answers} == {"operator_needed"}
    fresh = Store(redis_store.client(), SLOW).look([row.key])[row.key]
    assert fresh.state is BreakerStatus.OPEN


# On the terminal and in the admin


@pytest.mark.django_db
def test_the_terminal_lists_those_that_are_open_first_and_resets_them() -> None:
    User.objects.create_superuser("root")
    row, healthy = opened(), well()

    listed = run("breakers", "list", "--json").document
    text = run("breakers", "list").stdout
    done = run("breakers", "reset", row.key, "--note", "fixed", "--json").document

    assert [one["key"] for one in listed] == [row.key, healthy.key]
    assert "5 calls in a row failed" in text
    assert [(one["key"], one["state"]) for one in done] == [(row.key, "closed")]
    assert AuditEntry.objects.get(action="breaker.reset").actor == "root"


@pytest.mark.django_db
def test_the_terminal_knows_no_endpoint_that_was_never_called() -> None:
    ended = run("breakers", "reset", "http://nowhere.test:80")

    assert ended.exit_code == 4
    assert "There is no breaker 'http://nowhere.test:80'" in ended.stderr


@pytest.mark.django_db
def test_the_admin_shows_and_resets_them(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    row = opened()
    page = reverse("admin:errors_app_breaker_changelist")
    assert row.key in client.get(page).content.decode()
    assert row.key in client.get(reverse("admin:errors_app_breakertransition_changelist")).text

    client.post(page, {"action": "reset", "_selected_action": [str(row.id)]})

    row.refresh_from_db()
    assert row.state == "closed"


@pytest.mark.django_db
def test_the_admin_says_that_redis_is_away(client: Client, away: None) -> None:
    client.force_login(User.objects.create_superuser("root"))
    recorder.record(change(endpoint(), BreakerStatus.OPEN), worker="worker-1")
    page = reverse("admin:errors_app_breaker_changelist")
    chosen = {"action": "reset", "_selected_action": [str(Breaker.objects.get().id)]}

    told = client.post(page, chosen, follow=True).content.decode()

    assert "Redis did not answer" in told


@pytest.mark.django_db
def test_the_terminal_shows_one_endpoint_with_its_changes() -> None:
    row = opened()

    shown = run("breakers", "show", row.key)
    document = run("breakers", "show", str(row.id), "--json").document

    assert "5 lately, 5 of them failed (0.0% went well)" in shown.stdout
    assert "5 calls in a row failed" in shown.stdout
    assert "worker-1" in shown.stdout
    assert (document["key"], document["state"]) == (row.key, "open")
    assert run("breakers", "show", "http://nowhere.test:80").exit_code == 4
