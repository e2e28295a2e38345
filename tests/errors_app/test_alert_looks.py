"""Each kind of rule finds what it is about on real rows, and does not when that is over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app.models import PlanApproval
from errors_app.alerting import kinds, looks, unended, watch
from errors_app.alerting.findings import LOOKED
from errors_app.breakers import store
from errors_app.models import (
    Alert,
    AlertDelivery,
    AlertKind,
    AlertRule,
    Breaker,
    DeadLetter,
    Incident,
)
from executions_app import clock, ids
from executions_app.models import Execution, Process, SystemState
from executions_app.states import ExecutionStatus
from scheduler_app.models import FireRecord, Schedule
from tests.errors_app.watched import (
    ago,
    copies,
    ended,
    execution,
    firing,
    look,
    process,
    rule,
    schedule,
)
from tests.errors_app.watched import looks as rounds

pytestmark = pytest.mark.django_db
RUNNING, QUEUED, PENDING, WAITING = (
    ExecutionStatus.RUNNING,
    ExecutionStatus.QUEUED,
    ExecutionStatus.PENDING,
    ExecutionStatus.WAITING,
)


def told() -> list[str]:
    return list(AlertDelivery.objects.order_by("id").values_list("event", flat=True))


def is_resolved() -> bool:
    return Alert.objects.get().status == "resolved"


def test_every_kind_has_parameters_and_a_look() -> None:
    assert set(kinds.PARAMETERS) == set(looks.LOOKS) == set(AlertKind)


def test_the_rules_that_every_installation_begins_with_say_all_their_parameters() -> None:
    seeded = list(AlertRule.objects.all())

    assert len(seeded) == 11
    for one in seeded:
        assert one.parameters == kinds.parameters(one.kind, {}).model_dump(mode="json")
        assert one.enabled


def test_a_schedule_of_which_many_executions_fail() -> None:
    failing, well = schedule(), schedule()
    ended("failed", schedule_id=failing.id, number=2, minutes=1)
    ended("completed", schedule_id=failing.id, number=4, minutes=1)
    ended("failed", schedule_id=well.id, number=1, minutes=1)
    ended("completed", schedule_id=well.id, number=9, minutes=1)
    watched = rule("failure_rate")

    (found,) = look(watched)

    assert found.schedule_id == failing.id
    assert found.details == {"failed": 2, "ended": 6, "percent": 33.3}
    assert firing() == [str(failing.id)]

    ended("completed", schedule_id=failing.id, number=9, minutes=0)
    rounds(watched, times=2)
    assert is_resolved()


def test_failures_are_seen_behind_newer_executions_that_have_not_ended() -> None:
    of = schedule()
    ended("failed", schedule_id=of.id, number=10, minutes=1)
    waiting = execution(PENDING, schedule_id=of.id)
    copies(waiting, number=300)  # failing ones between their attempts

    (found,) = look(rule("failure_rate"))
    (of_all,) = look(rule("failure_rate", name="all", parameters={"per": "everything"}))

    assert found.details == of_all.details == {"failed": 10, "ended": 10, "percent": 100.0}


@pytest.mark.parametrize(("completed", "is_found"), [(30, True), (90, False)])
def test_behind_a_long_backlog_a_rate_is_that_of_the_newest_that_ended(
    completed: int, is_found: bool
) -> None:
    of = schedule()
    ended("completed", schedule_id=of.id, number=completed, minutes=1)
    ended("failed", schedule_id=of.id, number=10, minutes=1)
    copies(execution(PENDING, schedule_id=of.id), number=1_200)

    assert bool(look(rule("failure_rate"))) is is_found


def test_what_completes_at_once_does_not_hide_what_fails_after_its_retries() -> None:
    of = schedule()
    ended("failed", schedule_id=of.id, number=80, seconds=2)  # begun before all of those
    ended("completed", schedule_id=of.id, number=1, seconds=2)
    newest = Execution.objects.filter(status="completed").get()
    copies(newest, number=219)

    (found,) = look(rule("failure_rate"))

    assert found.details["failed"] == 80


def test_failures_of_before_the_window_and_too_few_runs_are_no_rate() -> None:
    old, few = schedule(), schedule()
    ended("failed", schedule_id=old.id, number=6, minutes=20)
    ended("failed", schedule_id=few.id, number=4, minutes=1)

    assert look(rule("failure_rate")) == []


def test_a_failure_rate_over_everything() -> None:
    ended("failed", schedule_id=uuid4(), number=3, minutes=1)
    ended("completed", schedule_id=uuid4(), number=3, minutes=1)

    (found,) = look(rule("failure_rate", parameters={"per": "everything"}))

    assert (found.key, found.details["percent"]) == ("everything", 50.0)


def test_an_execution_without_a_sign_of_life_is_stalled_until_it_gives_one() -> None:
    silent = execution(
        RUNNING, heartbeat_at=ago(minutes=2), snapshot={"name": "x", "timeout_ms": 10**7}
    )
    execution(RUNNING, heartbeat_at=ago(seconds=10), snapshot={"name": "y", "timeout_ms": 10**7})
    watched = rule("stalled_execution")

    (found,) = look(watched)

    assert f"#{silent.number}" in found.message
    assert "no sign of life for 2 min" in found.message
    assert found.owner_id == silent.owner_id

    Execution.objects.filter(id=silent.id).update(heartbeat_at=clock.now())
    rounds(watched, times=2)
    assert is_resolved()


def test_an_execution_far_beyond_its_time_limit_is_stalled() -> None:
    execution(RUNNING, heartbeat_at=clock.now(), started_at=ago(minutes=5))

    (found,) = look(rule("stalled_execution"))

    assert "its time limit is 1 s" in found.message


def test_an_execution_that_takes_far_longer_than_its_schedule_usually_does() -> None:
    of = schedule()
    ended("completed", schedule_id=of.id, number=20, minutes=1)  # each took a second
    late = {"schedule_id": of.id, "snapshot": {"name": "x", "timeout_ms": 10**7}}
    execution(RUNNING, heartbeat_at=clock.now(), started_at=ago(seconds=4), **late)

    assert look(rule("stalled_execution", name="patient", parameters={"p95_factor": 5})) == []
    (found,) = look(rule("stalled_execution", parameters={"p95_factor": 3}))

    assert "95 of 100 end within 1 s" in found.message


def test_a_fire_that_nobody_has_looked_at_is_late() -> None:
    of = schedule(name="forgotten")
    Schedule.objects.filter(id=of.id).update(next_run_at=ago(minutes=6))
    watched = rule("late_schedule")

    (found,) = look(watched)

    assert "'forgotten'" in found.message
    assert "no execution of it was made yet" in found.message

    Schedule.objects.filter(id=of.id).update(next_run_at=clock.now() + timedelta(minutes=1))
    rounds(watched, times=2)
    assert is_resolved()


def test_nothing_is_late_while_a_person_has_stopped_the_scheduler() -> None:
    of = schedule()
    Schedule.objects.filter(id=of.id).update(next_run_at=ago(minutes=6))
    SystemState.objects.update(scheduler_running=False)

    assert look(rule("late_schedule")) == []


@pytest.mark.parametrize(
    ("status", "held_by", "with_held", "is_found"),
    [
        (QUEUED, "", False, True),
        (PENDING, "", False, True),
        (PENDING, "limit:system", False, False),
        (PENDING, "limit:system", True, True),
    ],
)
def test_a_fire_whose_execution_waits_is_late(
    status: ExecutionStatus, held_by: str, with_held: bool, is_found: bool
) -> None:
    at = ago(minutes=6)
    execution(
        status, schedule_id=uuid4(), trigger="time", nominal_at=at, due_at=at, held_by=held_by
    )

    found = look(rule("late_schedule", parameters={"with_held": with_held}))

    assert bool(found) is is_found


def test_what_is_late_is_asked_about_again_behind_many_that_are_later() -> None:
    words: dict[str, Any] = {"trigger": "time", "published_at": None}
    late = execution(PENDING, schedule_id=uuid4(), nominal_at=ago(minutes=6), **words)
    Execution.objects.update(due_at=ago(minutes=6))
    watched = rule("late_schedule")
    look(watched)
    before = ago(minutes=9)
    copies(execution(PENDING, schedule_id=uuid4(), nominal_at=before, **words), number=2_000)
    Execution.objects.exclude(id=late.id).update(due_at=before)

    rounds(watched, times=2)

    assert str(late.schedule_id) in firing()
    assert len(firing()) == 2


def test_many_letters_of_what_fires_are_counted_no_further_than_needed() -> None:
    of, now = schedule(), clock.now()
    DeadLetter.objects.bulk_create(
        DeadLetter(
            id=ids.new(now),
            execution_id=uuid4(),
            schedule_id=of.id,
            owner_id=of.owner_id,
            payload={},
            attempts=1,
            error_class="permanent",
            message="no",
        )
        for _ in range(120)
    )
    watched = rule("dead_letters", parameters={"min_letters": 110})

    for _ in range(2):
        (found,) = look(watched)
        assert "at least 1" in found.message

    assert found.details == {"dead_letters": 110}


def test_a_fire_that_was_put_off_until_later_or_was_tried_is_not_late() -> None:
    at = ago(minutes=6)
    late = {"schedule_id": uuid4(), "trigger": "time", "nominal_at": at}
    execution(PENDING, due_at=clock.now() + timedelta(hours=1), **late)
    execution(PENDING, due_at=at, attempt=1, **late)
    execution(PENDING, due_at=at, **{**late, "trigger": "backfill"})

    assert look(rule("late_schedule")) == []


def ask_a_person(about: Execution) -> None:
    """Its plan waits for a yes or no."""
    PlanApproval.objects.create(
        id=ids.new(clock.now()),
        cycle_id=uuid4(),
        execution_id=about.id,
        owner_id=about.owner_id,
        expires_at=clock.now() + timedelta(hours=1),
    )


@pytest.mark.parametrize("status", [PENDING, QUEUED, RUNNING, WAITING])
def test_a_run_that_has_not_finished_by_its_time(status: ExecutionStatus) -> None:
    late = {"schedule_id": uuid4(), "trigger": "time", "nominal_at": ago(hours=2)}
    one = execution(status, **late)
    if status is WAITING:
        ask_a_person(one)
    watched = rule("finish_by")

    (found,) = look(watched)

    assert f"#{one.number} is {status}" in found.message
    rounds(watched, times=3)
    assert firing() == [str(one.schedule_id)]
    Execution.objects.filter(id=one.id).update(nominal_at=ago(minutes=5))
    rounds(watched, times=2)
    assert is_resolved()


def test_missed_fires_of_the_last_minutes() -> None:
    of, before = schedule(name="nightly"), schedule()
    for schedule_id, made_at in ((of.id, clock.now()), (before.id, ago(hours=1))):
        FireRecord.objects.create(
            id=ids.new(made_at),
            schedule_id=schedule_id,
            nominal_at=ago(minutes=30),
            nominal_until=ago(minutes=25),
            count=6,
            reason="missed_too_old",
        )
    watched = rule("missed")

    (found,) = look(watched)

    assert found.schedule_id == of.id
    assert "6 fires were missed" in found.message
    FireRecord.objects.all().delete()
    rounds(watched, times=2)
    assert is_resolved()


def test_a_schedule_that_has_been_silent_for_too_long() -> None:
    silent, lively = schedule(), schedule()
    long_ago = {"anchor_at": ago(days=3), "created_at": ago(days=3)}
    Schedule.objects.filter(id=silent.id).update(last_success_at=ago(days=2), **long_ago)
    Schedule.objects.filter(id=lively.id).update(last_success_at=ago(hours=2), **long_ago)
    watched = rule("silent_schedule", owner_id=silent.owner_id)

    (found,) = look(watched)

    assert found.schedule_id == silent.id
    assert look(rule("silent_schedule", name="other", schedule_id=str(lively.id))) == []
    Schedule.objects.filter(id=silent.id).update(last_success_at=clock.now())
    rounds(watched, times=2)
    assert is_resolved()


def test_a_queue_in_which_the_oldest_waits_too_long() -> None:
    execution(QUEUED, queue="high", queued_at=ago(minutes=3), published_at=ago(minutes=3))
    execution(QUEUED, queue="low", queued_at=ago(minutes=10), published_at=ago(minutes=10))
    execution(QUEUED, queue="normal", queued_at=ago(minutes=4), published_at=None)
    watched = rule("queue_age")

    assert [one.key for one in look(watched)] == ["high", "normal"]

    Execution.objects.update(queued_at=clock.now())
    rounds(watched, times=2)
    assert firing() == []


@pytest.mark.parametrize("is_sent", [True, False])
def test_what_waits_in_one_queue_is_seen_behind_many_that_wait_in_another(
    monkeypatch: pytest.MonkeyPatch, is_sent: bool
) -> None:
    monkeypatch.setattr(unended, "SAMPLED", 10)
    long_ago, at = ago(minutes=9), ago(minutes=3)
    before = {"queued_at": long_ago, "published_at": long_ago if is_sent else None}
    copies(execution(QUEUED, queue="low", **before), number=50)
    words = {"queue": "critical", "queued_at": at, "published_at": at if is_sent else None}
    planned = {"schedule_id": uuid4(), "trigger": "time", "nominal_at": ago(hours=2)}
    late = execution(QUEUED, **planned, **words, due_at=ago(hours=2))

    (found,) = look(rule("queue_age"))

    assert (found.key, found.details["queued"]) == ("critical", 1)
    for kind in ("late_schedule", "finish_by"):
        assert [one.key for one in look(rule(kind))] == [str(late.schedule_id)]


def test_a_message_that_is_sent_again_makes_nobody_younger() -> None:
    execution(QUEUED, queue="high", queued_at=ago(minutes=3), published_at=clock.now())

    (found,) = look(rule("queue_age"))

    assert "stands there for 3 min" in found.message


def test_a_breaker_that_is_not_closed() -> None:
    for state in ("open", "closed"):
        now = clock.now()
        Breaker.objects.create(
            id=ids.new(now), key=f"https://{state}.org:443", state=state, since=now, seen_at=now
        )
    watched = rule("breaker_open")

    assert [one.key for one in look(watched)] == ["https://open.org:443"]

    Breaker.objects.update(state="closed")
    rounds(watched, times=2)
    assert is_resolved()


def test_a_breaker_of_an_endpoint_that_nobody_calls_any_more_is_over() -> None:
    long_ago, now = ago(hours=1), clock.now()
    of = store.Store(store.client(), store.rules())
    keys = [f"https://{uuid4().hex}.org:443" for _ in range(2)]
    for key in keys:
        Breaker.objects.create(
            id=ids.new(now), key=key, state="open", since=long_ago, seen_at=long_ago
        )
    of.report(keys[0], store.Report(calls=50, failures=50, trailing=50))  # the other is forgotten
    watched = rule("breaker_open")

    assert [one.key for one in look(watched)] == [keys[0]]

    of.reset(keys[0], why="a test")
    rounds(watched, times=2)
    assert is_resolved()


def test_dead_letters_that_nobody_has_decided_about() -> None:
    of = schedule()
    DeadLetter.objects.create(
        id=ids.new(clock.now()),
        execution_id=uuid4(),
        schedule_id=of.id,
        owner_id=of.owner_id,
        payload={"snapshot": {"name": "nightly"}},
        attempts=3,
        error_class="permanent",
        message="no such host\nmore",
    )
    watched = rule("dead_letters")

    (found,) = look(watched)

    assert found.message == "Schedule 'nightly': 1 given up; the last: no such host"
    DeadLetter.objects.update(id=ids.floor(ago(days=2)))
    rounds(watched, times=2)
    assert firing() == [str(of.id)]  # to grow old is not to be over
    assert look(rule("dead_letters", name="later")) == []

    DeadLetter.objects.update(handling="discarded")
    rounds(watched, times=2)
    assert is_resolved()


def incident(key: str, severity: str) -> Incident:
    now = clock.now()
    words = {"fingerprint": "f", "error_class": "permanent", "exception_type": "E", "name": "n"}
    return Incident.objects.create(
        key=key,
        title="it broke",
        severity=severity,
        first_seen_at=now,
        last_seen_at=now,
        last_error_id=uuid4(),
        **words,
    )


def test_an_open_incident_of_some_severity_until_it_is_over() -> None:
    grave = incident("a", "high")
    incident("b", "low")
    watched = rule("incident_opened")

    assert [one.key for one in look(watched)] == [str(grave.id)]

    Incident.objects.filter(id=grave.id).update(status="resolved", resolved_at=clock.now())
    rounds(watched, times=2)
    assert is_resolved()
    assert told() == ["fired", "resolved"]


def test_an_incident_that_a_person_is_at_is_not_over_and_raises_nothing() -> None:
    watched = rule("incident_opened")
    incident("a", "high")
    look(watched)

    Incident.objects.update(status="acknowledged")
    rounds(watched, times=3)
    Incident.objects.filter(id=incident("b", "high").id).update(status="acknowledged")
    rounds(watched, times=1)

    assert Alert.objects.get().status == "firing"
    assert told() == ["fired"]


def test_an_incident_that_a_person_ignores_ends_its_alert_and_nobody_is_told_that_it_is_over() -> (
    None
):
    watched = rule("incident_opened")
    incident("a", "high")
    look(watched)

    Incident.objects.update(status="ignored")
    rounds(watched, times=3)

    assert is_resolved()
    assert told() == ["fired"]


def test_a_new_incident_is_found_beside_more_old_ones_than_a_look_finds() -> None:
    watched = rule("incident_opened")
    now = clock.now()
    first = incident("first", "high")
    look(watched)
    Incident.objects.bulk_create(
        Incident(
            **{
                **Incident.objects.filter(id=first.id).values()[0],
                "id": ids.new(now),
                "key": f"{number}",
            }
        )
        for number in range(LOOKED + 10)
    )

    newest = incident("newest", "high")
    rounds(watched, times=3)

    keys = firing()
    assert str(newest.id) in keys
    assert str(first.id) in keys
    assert "others" in keys


def test_a_worker_that_fell_silent_until_another_of_its_role_takes_its_place() -> None:
    process("beat", "beat@one")
    process("worker", "low@one")
    process("worker", "io@one", silent=60)
    watched = rule("process_gone")

    (found,) = look(watched)

    assert found.key == "worker:io"
    assert "Worker 'io@one' (pid 1) is gone" in found.message
    process("worker", "io@two", started=5)
    rounds(watched, times=2)
    assert is_resolved()


def test_of_two_that_fell_silent_one_successor_makes_one_good() -> None:
    process("beat", "beat@one")
    process("worker", "io@one", silent=60)
    process("worker", "io@two", silent=50)
    process("worker", "io@three", started=5)
    watched = rule("process_gone")

    (found,) = look(watched)
    assert found.details["gone"] == 1

    process("worker", "io@four", started=4)
    assert look(watched) == []


def test_a_successor_that_fell_silent_too_makes_nobody_good() -> None:
    process("beat", "beat@one")
    process("worker", "io@one", silent=300)
    process("worker", "io@two", started=200, silent=100)
    process("worker", "low@one")

    assert [one.key for one in look(rule("process_gone"))] == ["worker:io"]


def test_processes_that_ended_as_they_should_are_not_gone() -> None:
    process("beat", "beat@one")
    process("worker", "io@one", silent=600, stopped_at=ago(minutes=10))
    process("worker", "low@one")
    process("worker", "cut@one", silent=600, stopping_at=ago(minutes=11))
    process("web", "web@one", silent=600)

    assert look(rule("process_gone")) == []


def test_no_worker_at_all_is_told_after_a_while() -> None:
    process("beat", "beat@one", started=30)
    watched = rule("process_gone")
    assert look(watched) == []

    Process.objects.update(started_at=ago(minutes=5))
    (found,) = look(watched)

    assert found.key == "worker:none"
    assert found.message.startswith("There is no worker")


def test_a_disk_on_which_little_is_left() -> None:
    watched = rule("no_space", parameters={"min_free_bytes": 10**18})
    assert Path(settings.SERVICES.data_dir).is_dir()

    assert [one.key for one in look(watched)] == ["disk"]

    AlertRule.objects.filter(id=watched.id).update(parameters={"min_free_bytes": 0})
    watched.refresh_from_db()
    rounds(watched, times=2)
    assert is_resolved()


def test_a_rule_looks_only_at_what_it_is_about() -> None:
    mine, other = schedule(), schedule()
    for one in (mine, other):
        ended("failed", schedule_id=one.id, number=5, minutes=1)
        Schedule.objects.filter(id=one.id).update(next_run_at=ago(minutes=6))

    of_one = {"schedule_id": str(mine.id)}
    for kind in ("failure_rate", "late_schedule"):
        assert [one.key for one in look(rule(kind, **of_one))] == [str(mine.id)]
    owned = rule("late_schedule", name="of the other", owner_id=other.owner_id)
    assert [one.key for one in look(owned)] == [str(other.id)]


def test_each_look_is_two_statements_at_most() -> None:
    for kind in set(AlertKind) - {AlertKind.NO_SPACE}:
        scope: dict[str, Any] = {"owner_id": 1} if kind in kinds.NEED_A_SCOPE else {}
        watched = rule(kind.value, **scope)

        with CaptureQueriesContext(connection) as asked:
            watch.look_by(watched, firing=["none", str(uuid4())])

        assert len(asked) <= 2, kind
