"""An alert is raised once, counted, told, muted, and over only after it has been quiet."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from errors_app.alerting import channels, raising, rules, watch
from errors_app.alerting.definitions import Invalid
from errors_app.alerting.findings import Finding
from errors_app.alerting.raising import MOST_FIRING, MOST_NEW
from errors_app.models import Alert, AlertChannel, AlertDelivery, AlertRule
from errors_app.models_alerts import AlertRound
from executions_app import clock, presence, retention
from executions_app.audit import SYSTEM
from executions_app.models import AuditEntry, Event
from tests.errors_app.watched import ago, firing, process, rule

pytestmark = pytest.mark.django_db
FOUND = Finding(key="a", message="it is so")


@pytest.fixture
def watched() -> AlertRule:
    """A rule of its own; nothing here looks by it."""
    AlertRule.objects.all().delete()
    return rule("queue_age")


def told() -> list[tuple[str, str]]:
    rows = AlertDelivery.objects.order_by("id")
    return list(rows.values_list("event", "channel_name"))


def settle(at: AlertRule, *findings: Finding, times: int = 1) -> None:
    for _ in range(times):
        raising.settle(at, findings)


def test_what_is_found_again_and_again_is_one_alert_and_one_notice(watched: AlertRule) -> None:
    settle(watched, FOUND, times=3)

    alert = Alert.objects.get()
    assert (alert.status, alert.count, alert.message) == ("firing", 3, "it is so")
    assert told() == [("fired", "log")]
    assert Event.objects.filter(type="alert:fired").count() == 1


def test_what_is_quiet_for_two_rounds_is_over_and_that_is_told(watched: AlertRule) -> None:
    settle(watched, FOUND)

    settle(watched)
    assert firing() == ["a"]
    settle(watched)

    alert = Alert.objects.get()
    assert alert.status == "resolved"
    assert alert.resolved_at is not None
    assert told() == [("fired", "log"), ("resolved", "log")]
    assert Event.objects.filter(type="alert:resolved").count() == 1


def test_what_is_found_again_after_one_quiet_round_was_never_over(watched: AlertRule) -> None:
    settle(watched, FOUND)
    for _ in range(3):
        settle(watched)
        settle(watched, FOUND)

    assert Alert.objects.get().status == "firing"
    assert told() == [("fired", "log")]


def test_what_comes_again_after_it_was_over_is_another_alert(watched: AlertRule) -> None:
    settle(watched, FOUND)
    settle(watched, times=2)
    settle(watched, FOUND)

    assert sorted(Alert.objects.values_list("status", flat=True)) == ["firing", "resolved"]


def test_the_database_admits_one_open_alert_of_a_rule_and_key(watched: AlertRule) -> None:
    settle(watched, FOUND)
    (row,) = Alert.objects.values()

    with pytest.raises(IntegrityError), transaction.atomic():
        Alert.objects.create(**{**row, "id": None})


def many(number: int) -> list[Finding]:
    return [Finding(key=f"b{one:04}", message=f"no. {one}") for one in range(number)]


def test_what_is_new_is_told_however_much_fires_already(watched: AlertRule) -> None:
    settle(watched, *many(MOST_NEW))

    settle(watched, *many(MOST_NEW), FOUND)

    assert "a" in firing()
    assert "others" not in firing()
    assert len(told()) == MOST_NEW + 1


def test_of_more_than_can_be_told_at_once_it_is_told_how_many_are_left(watched: AlertRule) -> None:
    settle(watched, *many(MOST_NEW + 20))

    assert len(firing()) == MOST_NEW + 1
    others = Alert.objects.get(key="others")
    assert others.message.startswith("There are at least 20 more than can be told at once")

    settle(watched, *many(MOST_NEW + 20))
    assert len(firing()) == MOST_NEW + 21
    settle(watched, *many(MOST_NEW + 20), times=2)
    assert "others" not in firing()


def test_no_rule_has_more_alerts_than_can_be_asked_about_again(watched: AlertRule) -> None:
    for _ in range(MOST_FIRING // MOST_NEW + 2):
        settle(watched, *many(MOST_FIRING + 50))

    assert MOST_FIRING <= len(firing()) <= MOST_FIRING + 1
    assert Alert.objects.get(key="others").details["at_least"] >= 50


def test_with_many_findings_what_is_not_among_them_is_over(watched: AlertRule) -> None:
    settle(watched, FOUND)

    settle(watched, *many(MOST_NEW + 20), times=2)

    assert "a" not in firing()


def test_what_a_look_did_not_ask_about_is_not_taken_for_over(watched: AlertRule) -> None:
    settle(watched, FOUND)

    for _ in range(3):
        raising.settle(watched, [], asked_about=[])

    assert firing() == ["a"]


def test_what_a_person_wants_to_hear_no_more_of_ends_untold(watched: AlertRule) -> None:
    settle(watched, FOUND)

    settle(watched, Finding(key="a", message="it is so", is_let_go=True))

    assert firing() == []
    assert told() == [("fired", "log")]
    assert Event.objects.filter(type="alert:resolved").count() == 1


def test_a_muted_rule_raises_and_tells_nobody_until_that_ends(watched: AlertRule) -> None:
    rules.mute(watched.id, until=clock.now() + timedelta(hours=1), actor=SYSTEM)
    settle(watched, FOUND)
    assert (firing(), told()) == (["a"], [])

    rules.mute(watched.id, until=None, actor=SYSTEM)
    settle(watched, FOUND, times=2)

    assert told() == [("fired", "log")]


def test_a_muted_alert_ends_untold_and_stays_muted_when_it_comes_again(watched: AlertRule) -> None:
    settle(watched, FOUND)
    alert = Alert.objects.get()
    raising.mute(alert.id, until=clock.now() + timedelta(hours=1), actor=SYSTEM)

    settle(watched, times=2)
    settle(watched, FOUND)

    assert firing() == ["a"]
    assert told() == [("fired", "log")]
    assert AuditEntry.objects.filter(action="alert.muted").count() == 1

    Alert.objects.filter(status="firing").update(muted_until=ago(seconds=1))
    settle(watched, FOUND)
    assert told() == [("fired", "log"), ("fired", "log")]


def test_a_channel_hears_what_is_grave_enough_and_what_names_it(watched: AlertRule) -> None:
    channels.create({"name": "all", "url": "log"}, actor=SYSTEM)
    channels.create({"name": "grave", "url": "log", "min_severity": "high"}, actor=SYSTEM)
    channels.create({"name": "off", "url": "log", "enabled": False}, actor=SYSTEM)
    grave = rule("dead_letters", severity="critical", channels=["grave"])

    settle(watched, FOUND)
    settle(grave, FOUND)

    assert told() == [("fired", "log"), ("fired", "all"), ("fired", "grave")]


def test_who_was_not_told_that_it_began_is_not_told_that_it_is_over(watched: AlertRule) -> None:
    settle(watched, FOUND)
    AlertDelivery.objects.update(status="failed")

    settle(watched, times=2)

    assert told() == [("fired", "log")]


def test_alerts_of_a_rule_that_is_disabled_or_gone_end_untold(watched: AlertRule) -> None:
    other = rule("dead_letters")
    settle(watched, FOUND)
    settle(other, FOUND)

    rules.change(watched.id, {"enabled": False}, actor=SYSTEM)
    rules.remove(other.id, actor=SYSTEM)
    settle(watched, FOUND)
    raising.end_unwatched()

    assert firing() == []
    assert told() == [("fired", "log"), ("fired", "log")]


def test_a_rule_that_cannot_be_looked_at_says_so_and_stops_no_other() -> None:
    AlertRule.objects.all().delete()
    broken = rule("failure_rate", name="1 broken")
    AlertRule.objects.filter(id=broken.id).update(parameters={"window_ms": "soon"})
    rule("process_gone", name="2 whole")
    process("worker", "io@one", silent=60)

    watch.look_by_all()

    broken.refresh_from_db()
    assert broken.problem.startswith("ValidationError")
    assert "worker:io" in firing()
    AlertRule.objects.filter(id=broken.id).update(parameters={})
    watch.look_by_all()
    broken.refresh_from_db()
    assert broken.problem == ""


@pytest.mark.django_db(transaction=True)
def test_a_rule_whose_statement_the_database_refuses_stops_no_other() -> None:
    AlertRule.objects.all().delete()
    rule("breaker_open", name="1 broken")
    rule("process_gone", name="2 whole")
    process("worker", "io@one", silent=60)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE breakers RENAME TO moved")
        try:
            watch.look_by_all()
        finally:
            cursor.execute("ALTER TABLE moved RENAME TO breakers")

    assert "breakers" in AlertRule.objects.get(kind="breaker_open").problem
    assert "worker:io" in firing()


@pytest.mark.django_db(transaction=True)
def test_after_postgresql_was_away_processes_get_time_to_say_that_they_live() -> None:
    AlertRule.objects.all().delete()
    rule("process_gone")
    process("worker", "io@one", silent=60)
    watching = watch.Watch()
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(OperationalError):
        watching.once()
    connection.close()
    watching.once()
    soon = firing()
    AlertRound.objects.all().delete()
    watching._was_away_at -= presence.until_gone().total_seconds()
    watching.once()

    assert soon == []
    assert "worker:io" in firing()


def test_the_round_is_taken_by_one_and_is_due_again_after_its_time() -> None:
    assert watch.is_my_turn(seconds=15)
    assert not watch.is_my_turn(seconds=15)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE alert_round SET looked_at = now() - interval '15 s'")
    assert watch.is_my_turn(seconds=15)


def test_a_round_of_a_future_that_the_clock_was_set_back_from_is_due() -> None:
    watch.is_my_turn(seconds=15)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE alert_round SET looked_at = now() + interval '45 days'")

    assert watch.is_my_turn(seconds=15)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"kind": "nonsense"}, "kind"),
        ({"parameters": {"max_age_ms": 5}}, "parameters.max_age_ms"),
        ({"parameters": {"nonsense": 5}}, "parameters.nonsense"),
        ({"channels": ["nobody"]}, "channels"),
        ({"severity": "awful"}, "severity"),
        ({"nonsense": 1}, "nonsense"),
        ({"kind": "silent_schedule"}, "kind"),
        ({"kind": "process_gone", "owner_id": 1}, "kind"),
        ({"schedule_id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b"}, "schedule_id"),
    ],
)
def test_words_that_make_no_rule(words: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.create({"name": "x", "kind": "queue_age", **words}, actor=SYSTEM)

    assert [".".join(one.path) for one in refused.value.problems] == [field]


def test_a_name_is_taken_once(watched: AlertRule) -> None:
    with pytest.raises(Invalid, match="another rule has this name"):
        rule("queue_age")


def test_resolved_alerts_and_their_notices_go_with_time(watched: AlertRule) -> None:
    settle(watched, FOUND)
    settle(watched, times=2)
    settle(watched, Finding(key="b", message="still so"))
    AlertDelivery.objects.update(status="sent", sent_at=clock.now())

    later = clock.now() + timedelta(days=91)
    retention.apply(later)

    assert list(Alert.objects.values_list("key", flat=True)) == ["b"]
    assert told() == [("fired", "log")]


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_look_at_once_raise_one_alert() -> None:
    AlertRule.objects.all().delete()
    AlertChannel.objects.all().delete()
    channels.create({"name": "one", "url": "log"}, actor=SYSTEM)
    watched = rule("queue_age")
    both = threading.Barrier(2, timeout=10)

    def look() -> None:
        both.wait()
        for _ in range(20):
            raising.settle(watched, [FOUND, Finding(key="b", message="too")])
        connection.close()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)

    assert firing() == ["a", "b"]
    assert set(Alert.objects.values_list("count", flat=True)) == {40}
    assert sorted(told()) == [("fired", "one"), ("fired", "one")]
