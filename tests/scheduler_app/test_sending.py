"""Messages as they stand in Redis: how many share one, what goes again, what moves up."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from django.conf import settings

from config.env import env
from executions_app import clock, ids
from executions_app.models import Execution, OutcomeInbox
from executions_app.outbox import Message
from scheduler_app import consequences, dispatcher, queues, sending
from scheduler_app.limiting import limits_in_force
from scheduler_app.models import Limit, Schedule
from scheduler_app.prediction import predictions
from tests.patience import forgive_redis

MakeSchedule = Callable[..., Schedule]
URL = "http://a.test/"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def travelling(queue: str = "normal") -> list[list[str]]:
    """The ids of each message, in the order in which workers read them."""
    found: list[Any] = queues.broker().lrange(queue, 0, -1)
    bodies = [json.loads(base64.b64decode(json.loads(one)["body"])) for one in reversed(found)]
    return [body[1]["execution_ids"] for body in bodies]


def quick(count: int) -> list[Message]:
    return [Message(UUID(int=number), "normal", 0.5) for number in range(count)]


@pytest.fixture
def an_idle_worker(owner: object) -> Iterator[None]:
    """Somebody who waits for a message of a queue that gets none."""
    client = redis.Redis.from_url(settings.REDIS_BROKER_URL)
    waiting = threading.Thread(target=client.brpop, args=(["nothing"], 20), daemon=True)
    waiting.start()
    while not queues.broker().info("clients")["blocked_clients"]:
        assert waiting.is_alive()
    yield
    queues.broker().lpush("nothing", "enough")
    waiting.join()
    client.close()


@pytest.mark.django_db
def test_quick_executions_of_a_queue_travel_in_one_message(owner: object) -> None:
    sent = queues.publish(quick(40))

    assert sent == 1
    assert travelling() == [[str(UUID(int=number)) for number in range(40)]]


@pytest.mark.django_db
def test_one_per_message_can_be_asked_for(owner: object) -> None:
    queues.publish(quick(3), most_per_message=1)

    assert travelling() == [[str(UUID(int=number))] for number in range(3)]


@pytest.mark.django_db
def test_a_batch_is_split_when_workers_are_idle(an_idle_worker: None) -> None:
    waiting = int(queues.broker().info("clients")["blocked_clients"])

    queues.publish(quick(100 * waiting))

    assert [len(one) for one in travelling()] == [100] * waiting


@pytest.mark.django_db
def test_every_message_has_names_of_its_own(owner: object) -> None:
    queues.publish(quick(50), most_per_message=1)

    found: list[Any] = queues.broker().lrange("normal", 0, -1)
    envelopes = [json.loads(one) for one in found]
    assert len({one["headers"]["id"] for one in envelopes}) == 50
    assert len({one["properties"]["delivery_tag"] for one in envelopes}) == 50


@pytest.mark.django_db
def test_schedules_that_ran_often_and_quickly_share_a_message(make_schedule: MakeSchedule) -> None:
    for number in range(6):
        make_schedule(f"job {number}", late_by=SECOND)
    Schedule.objects.update(run_count=5, success_count=5, total_duration_ms=10)
    Schedule.objects.filter(name="job 5").update(total_duration_ms=5_000)

    dispatcher.dispatch_due()

    assert sorted(len(one) for one in travelling()) == [1, 5]


@pytest.mark.django_db
def test_what_must_not_be_begun_twice_shares_no_message(make_schedule: MakeSchedule) -> None:
    calls: dict[str, Any] = {"task_type": "http_request", "late_by": SECOND}
    for number in range(3):
        make_schedule(f"once {number}", task_config={"url": URL, "idempotent": False}, **calls)
        make_schedule(f"any {number}", task_config={"url": URL}, **calls)
    Schedule.objects.update(run_count=5, success_count=5, total_duration_ms=10)
    dispatcher.dispatch_due()
    at_first = sorted(len(one) for one in travelling())
    queues.broker().delete("normal")
    predictions.learn("http_request", mean_ms=1, runs=10_000)
    Execution.objects.update(published_at=clock.now() - MINUTE)

    sending.republish_overdue()

    assert at_first == [1, 1, 1, 3]
    assert sorted(len(one) for one in travelling()) == [1, 1, 1, 3]


@pytest.mark.django_db
def test_what_is_sent_again_shares_a_message_only_if_it_may(make_schedule: MakeSchedule) -> None:
    for number in range(5):
        make_schedule(f"job {number}", late_by=SECOND)
    dispatcher.dispatch_due()
    queues.broker().delete("normal")
    predictions.learn("shell_command", mean_ms=1, runs=10_000)
    long_ago = clock.now() - MINUTE
    retried, alone, *_ = list(Execution.objects.order_by("id"))
    Execution.objects.update(published_at=long_ago)
    Execution.objects.filter(id=retried.id).update(attempt=1)
    Execution.objects.filter(id=alone.id).update(travels_alone=True)

    again = sending.republish_overdue()

    assert again == 5
    assert sorted(len(one) for one in travelling()) == [1, 1, 3]


@pytest.mark.django_db
def test_outcomes_teach_how_long_a_task_type_takes(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND, task_type="http_request", task_config={"url": "http://a.test"})
    dispatcher.dispatch_due()
    now = clock.now()
    Execution.objects.update(status="completed", started_at=now, completed_at=now)
    execution = Execution.objects.get()
    leave_in_the_inbox(execution, duration_ms=1_234)

    consequences.draw()

    assert (predictions.of("http_request") or 0) >= 1_234
    assert Schedule.objects.get().total_duration_ms == 1_234


def leave_in_the_inbox(execution: Execution, *, duration_ms: int) -> None:
    assert execution.completed_at is not None
    OutcomeInbox.objects.create(
        id=execution.id,
        execution_id=execution.id,
        schedule_id=execution.schedule_id,
        status="completed",
        outcome="ok",
        duration_ms=duration_ms,
        completed_at=execution.completed_at,
    )


@pytest.mark.django_db
def test_what_waited_too_long_at_low_priority_moves_up_once(make_schedule: MakeSchedule) -> None:
    make_schedule("patient", priority="low", late_by=SECOND)
    make_schedule("new", priority="low", late_by=SECOND)
    dispatcher.dispatch_due()
    too_long = clock.now() - timedelta(seconds=env.low_priority_max_wait_seconds + 1)
    Execution.objects.filter(snapshot__name="patient").update(
        queued_at=too_long, published_at=clock.now() - 2 * MINUTE
    )

    moved = [sending.republish_overdue() for _ in range(2)]

    patient = Execution.objects.get(snapshot__name="patient")
    assert moved == [1, 0]
    assert (patient.queue, patient.priority) == ("high", "low")
    assert travelling("high") == [[str(patient.id)]]
    assert Execution.objects.get(snapshot__name="new").queue == "low"


@pytest.mark.django_db
@pytest.mark.parametrize("queue", ["low", "high"])
def test_nothing_moves_up_into_or_out_of_a_queue_that_has_a_limit(
    make_schedule: MakeSchedule, queue: str
) -> None:
    make_schedule("patient", priority="low", late_by=SECOND)
    dispatcher.dispatch_due()
    too_long = clock.now() - timedelta(seconds=env.low_priority_max_wait_seconds + 1)
    Execution.objects.update(queued_at=too_long, published_at=clock.now() - 2 * MINUTE)
    Limit.objects.create(id=ids.new(clock.now()), key=f"queue:{queue}", max_concurrent=5)
    limits_in_force.forget()

    try:
        sending.republish_overdue()
    finally:
        limits_in_force.forget()

    assert Execution.objects.get().queue == "low"


@pytest.mark.django_db
def test_an_outage_of_redis_is_told_when_it_begins_and_when_it_is_over(
    owner: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sending, "_outage", sending._Outage())
    queues.broker.cache_clear()
    with monkeypatch.context() as away, caplog.at_level("WARNING", logger=sending.__name__):
        away.setattr("django.conf.settings.REDIS_BROKER_URL", "redis://127.0.0.1:1/0")
        left = [sending.send(quick(2)) for _ in range(3)]
        told_meanwhile = len(caplog.messages)
        nothing_to_send = sending.send([])
    queues.broker.cache_clear()
    forgive_redis()
    left_afterwards = [sending.send(quick(1)) for _ in range(2)]

    begun, over = caplog.messages
    assert (left, told_meanwhile) == ([2, 2, 2], 1)
    assert (nothing_to_send, left_afterwards) == (0, [0, 0])
    assert begun.startswith("Redis did not answer")
    assert over == "Redis takes messages again; 6 were left to a later round"
