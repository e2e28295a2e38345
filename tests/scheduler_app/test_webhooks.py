"""Webhooks from outside: a signed delivery is one execution, and nothing else is anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.http import HttpResponse
from pytest_django import DjangoDbBlocker, Settings
from rest_framework.test import APIClient
from standardwebhooks import Webhook

from config.env import env
from executions_app import encryption, retention
from executions_app.audit import SYSTEM
from executions_app.models import AuditEntry, Execution
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule, WebhookDelivery, WebhookSecret
from scheduler_app.sources import payloads, webhook_secrets, webhooks
from tests.factories import ScheduleFactory, UserFactory
from tests.rest import signed_in
from tests.terminal import run

PAID = {"kind": "order", "order": {"status": "paid"}}
FILTER = {"order.status": {"eq": "paid"}}
HOUR = timedelta(hours=1)


def on_webhook(owner: User, **words: Any) -> Schedule:
    config = words.pop("trigger_config", {"source": "webhook", "filter": FILTER})
    return ScheduleFactory.create(
        owner=owner,
        trigger_type="event_driven",
        trigger_config=config,
        schedule_type="",
        schedule_config={},
        **words,
    )


def secret_of(schedule: Schedule, *, overlap: timedelta = timedelta(0)) -> str:
    return webhook_secrets.rotate(schedule.id, actor=SYSTEM, overlap=overlap)


@pytest.fixture
def schedule(owner: User) -> Schedule:
    return on_webhook(owner, overlap_policy="allow")


@pytest.fixture
def secret(schedule: Schedule) -> str:
    return secret_of(schedule)


def signature(secret: str, body: bytes, *, delivery_id: str, at: datetime) -> dict[str, str]:
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(delivery_id, at, body.decode()),
    }


def deliver(
    trigger: object,
    secret: str,
    payload: Any = PAID,
    *,
    delivery_id: str = "evt-1",
    at: datetime | None = None,
    kind: str = "application/json",
) -> HttpResponse:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = signature(secret, body, delivery_id=delivery_id, at=at or datetime.now(UTC))
    return post(trigger, body, headers, kind=kind)


def post(
    trigger: object, body: bytes, headers: dict[str, str], *, kind: str = "application/json"
) -> HttpResponse:
    answer: HttpResponse = APIClient().generic(
        "POST",
        f"/api/webhooks/{trigger}",
        body,  # type: ignore[arg-type]  # bytes go as they are
        content_type=kind,
        headers=headers,
    )
    return answer


def said(answer: HttpResponse) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(answer.content)
    return words


def test_a_signed_delivery_is_an_execution_with_its_payload(
    schedule: Schedule, secret: str
) -> None:
    answer = deliver(schedule.id, secret, {**PAID, "password": "hunter2"})

    execution = Execution.objects.get()
    assert answer.status_code == 202
    assert said(answer) == {
        "matched": True,
        "execution_id": str(execution.id),
        "id": str(execution.id),
        "number": execution.number,
        "status": "queued",
        "skipped": "",
    }
    assert answer["Location"].endswith(f"/{execution.id}")
    assert (execution.trigger, execution.schedule_id) == ("event", schedule.id)
    assert execution.nominal_at is None
    assert execution.parameters == {"event": {**PAID, "password": "[scrubbed]"}}


def test_a_token_of_ones_own_starts_it_too(schedule: Schedule, secret: str) -> None:
    now = datetime.now(UTC)
    token = jwt.encode({"iat": now, "exp": now + timedelta(minutes=1), "jti": "evt-9"}, secret)

    answers = [
        post(schedule.id, json.dumps(PAID).encode(), {"Authorization": f"Bearer {token}"})
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert said(answers[0]) == said(answers[1])
    assert Execution.objects.count() == 1


def test_what_the_filter_does_not_admit_starts_nothing(schedule: Schedule, secret: str) -> None:
    answer = deliver(schedule.id, secret, {"order": {"status": "open"}})

    assert (answer.status_code, said(answer)["matched"]) == (202, False)
    assert said(answer)["execution_id"] is None
    assert not Execution.objects.exists()


def test_a_delivery_that_comes_again_gets_the_same_answer(schedule: Schedule, secret: str) -> None:
    first = deliver(schedule.id, secret)
    other = deliver(schedule.id, secret, {"order": {"status": "open"}}, delivery_id="evt-2")

    assert said(deliver(schedule.id, secret)) == said(first)
    assert said(deliver(schedule.id, secret, PAID, delivery_id="evt-2")) == said(other)
    assert Execution.objects.count() == 1


def test_deliveries_of_two_webhooks_may_have_the_same_id(owner: User) -> None:
    both = [on_webhook(owner), on_webhook(owner)]

    for one in both:
        deliver(one.id, secret_of(one))

    assert set(Execution.objects.values_list("schedule_id", flat=True)) == {one.id for one in both}


@pytest.fixture
def committed(
    transactional_db: None, django_db_blocker: DjangoDbBlocker
) -> Callable[[Callable[[], HttpResponse], int], list[HttpResponse]]:
    def at_once(act: Callable[[], HttpResponse], times: int) -> list[HttpResponse]:
        def one(_: int) -> HttpResponse:
            try:
                return act()
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, range(times)))

    return at_once


def test_the_same_delivery_twenty_times_at_once_is_one_execution(
    committed: Callable[[Callable[[], HttpResponse], int], list[HttpResponse]], owner: User
) -> None:
    schedule = on_webhook(owner, overlap_policy="allow")
    secret = secret_of(schedule)

    answers = committed(lambda: deliver(schedule.id, secret), 20)

    assert {answer.status_code for answer in answers} == {202}
    assert len({said(answer)["execution_id"] for answer in answers}) == 1
    assert Execution.objects.count() == 1


def test_whoever_has_not_the_secret_learns_nothing(owner: User, schedule: Schedule) -> None:
    wrong = secret_of(on_webhook(owner))
    manual = ScheduleFactory.create(
        owner=owner, trigger_type="manual", schedule_type="", schedule_config={}
    )
    secret_of(schedule)

    answers = [
        deliver(trigger, wrong) for trigger in (schedule.id, manual.id, uuid4(), "nonsense", "%00")
    ]
    answers.append(post(schedule.id, b"{}", {}))
    answers.append(post(uuid4(), b"not json", {}))

    bare = [
        {key: value for key, value in said(answer).items() if key not in {"instance", "request_id"}}
        for answer in answers
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert all(one == bare[0] for one in bare)
    assert not Execution.objects.exists()
    assert not WebhookDelivery.objects.exists()


def test_a_user_with_all_rights_is_nobody_here(
    owner: User, schedule: Schedule, secret: str
) -> None:
    superuser = signed_in(UserFactory.create(is_superuser=True))

    answer = superuser.post(f"/api/webhooks/{schedule.id}", PAID)

    assert answer.status_code == 401


def test_an_old_signature_is_not_believed(schedule: Schedule, secret: str) -> None:
    answer = deliver(schedule.id, secret, at=datetime.now(UTC) - timedelta(minutes=10))

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 200_000, 400),
        (b'{"order":' * 20_000, 400),
        (b'{"order":NaN}', 400),
        (b'{"order":1e999}', 400),
        (b'{"order":' + b"9" * 5_000 + b"}", 400),
        (b'{"order":{"status":"paid","status":"open"}}', 400),
        (b"[]", 400),
        (b"", 400),
        (b'{"a":"' + b"x" * payloads.MOST_BYTES + b'"}', 413),
    ],
    ids=["deep", "deep-objects", "nan", "infinite", "long", "twice", "list", "empty", "large"],
)
def test_a_hostile_body_is_refused_though_it_is_signed(
    schedule: Schedule, secret: str, body: bytes, status: int
) -> None:
    answer = deliver(schedule.id, secret, body)

    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert not WebhookDelivery.objects.exists()


def test_a_large_body_is_refused_before_anybody_looks_at_its_signature() -> None:
    assert post(uuid4(), b"x" * (payloads.MOST_BYTES + 1), {}).status_code == 413


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-8", 202),
        ("application/cloudevents+json", 202),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
def test_only_json_is_read(schedule: Schedule, secret: str, kind: str, status: int) -> None:
    assert deliver(schedule.id, secret, kind=kind).status_code == status


def test_a_rotated_secret_is_of_no_use(schedule: Schedule, secret: str) -> None:
    newer = secret_of(schedule)

    assert deliver(schedule.id, secret).status_code == 401
    assert deliver(schedule.id, newer).status_code == 202


def test_a_rotated_secret_may_be_good_for_a_while(schedule: Schedule, secret: str) -> None:
    newer = secret_of(schedule, overlap=HOUR)

    assert deliver(schedule.id, secret, delivery_id="old").status_code == 202
    assert deliver(schedule.id, newer, delivery_id="new").status_code == 202
    WebhookSecret.objects.filter(expires_at__isnull=False).update(expires_at=F("created_at"))
    assert deliver(schedule.id, secret, delivery_id="late").status_code == 401


def test_a_secret_stands_nowhere_in_the_database(owner: User, schedule: Schedule) -> None:
    answer = signed_in(owner).post(f"/api/scheduler/schedules/{schedule.id}/webhook-secret", {})

    secret = answer.json()["secret"]
    stored = WebhookSecret.objects.get().ciphertext
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert answer.json()["url"] == f"/api/webhooks/{schedule.id}"
    assert secret not in stored
    assert secret.removeprefix("whsec_") not in json.dumps(
        list(AuditEntry.objects.values("before", "after", "note"))
    )
    assert encryption.decrypt(stored) == secret
    assert deliver(schedule.id, secret).status_code == 202


def test_only_a_webhook_has_a_secret(owner: User) -> None:
    steady = ScheduleFactory.create(owner=owner)

    answer = signed_in(owner).post(f"/api/scheduler/schedules/{steady.id}/webhook-secret", {})

    assert answer.status_code == 409


def test_a_secret_is_made_by_its_owner_only(schedule: Schedule) -> None:
    stranger = signed_in(UserFactory.create())

    answer = stranger.post(f"/api/scheduler/schedules/{schedule.id}/webhook-secret", {})

    assert answer.status_code == 404
    assert not WebhookSecret.objects.exists()


def test_a_disabled_schedule_takes_nothing_and_the_delivery_may_come_again(
    schedule: Schedule, secret: str
) -> None:
    schedules.disable(schedule.id, actor=SYSTEM)
    refused = deliver(schedule.id, secret)
    schedules.enable(schedule.id, actor=SYSTEM)

    assert (refused.status_code, said(refused)["code"]) == (409, "not_accepting")
    assert deliver(schedule.id, secret).status_code == 202


def test_a_paused_schedule_takes_nothing(schedule: Schedule, secret: str) -> None:
    schedules.pause(schedule.id, reason="", until=datetime.now(UTC) + HOUR, actor=SYSTEM)

    assert deliver(schedule.id, secret).status_code == 409


def test_the_overlap_policy_holds_for_deliveries(owner: User) -> None:
    one_at_a_time = on_webhook(owner, overlap_policy="skip")
    secret = secret_of(one_at_a_time)

    deliver(one_at_a_time.id, secret)
    skipped = deliver(one_at_a_time.id, secret, delivery_id="evt-2")
    again = deliver(one_at_a_time.id, secret, delivery_id="evt-2")

    assert (skipped.status_code, said(skipped)["matched"]) == (202, True)
    assert said(skipped)["skipped"] == "skipped_overlap"
    assert said(again) == said(skipped)
    assert Execution.objects.count() == 1


def test_a_delivery_that_a_policy_refuses_is_recorded_once(owner: User) -> None:
    one_at_a_time = on_webhook(owner, overlap_policy="skip")
    secret = secret_of(one_at_a_time)

    deliver(one_at_a_time.id, secret)
    for _ in range(2):
        deliver(one_at_a_time.id, secret, delivery_id="evt-2")
    deliver(one_at_a_time.id, secret, {"order": {"status": "open"}}, delivery_id="evt-3")

    fire = FireRecord.objects.get()
    received_at = WebhookDelivery.objects.get(delivery_id="evt-2").received_at
    assert (fire.cause, fire.reason) == ("delivery:evt-2", "skipped_overlap")
    assert abs(fire.nominal_at - received_at) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"enabled": False}, "enable it"),
        ({"paused_until": Now() + HOUR}, "resume it"),
        ({"start_at": Now() + HOUR}, "start_at"),
        ({"end_at": Now() - HOUR}, "end_at"),
    ],
    ids=["disabled", "paused", "early", "late"],
)
def test_the_sender_is_told_what_to_do_before_the_delivery_comes_again(
    schedule: Schedule, secret: str, columns: dict[str, Any], told: str
) -> None:
    Schedule.objects.filter(id=schedule.id).update(**columns)

    answer = deliver(schedule.id, secret)

    assert answer.status_code == 409
    assert told in said(answer)["detail"]
    assert "send the delivery again" in said(answer)["detail"]


def test_after_its_last_run_a_schedule_is_finished(owner: User) -> None:
    twice = on_webhook(owner, overlap_policy="allow", max_runs=2)
    secret = secret_of(twice)

    statuses = [deliver(twice.id, secret, delivery_id=f"{n}").status_code for n in range(3)]

    twice.refresh_from_db()
    assert statuses == [202, 202, 409]
    assert (twice.fired_count, twice.enabled) == (2, False)


def test_a_key_is_made_of_the_payload_and_a_duplicate_starts_nothing(owner: User) -> None:
    unique = on_webhook(
        owner, overlap_policy="allow", unique_key="{event.kind}", limit_key="kind:{event.kind}"
    )
    secret = secret_of(unique)

    first = deliver(unique.id, secret)
    second = deliver(unique.id, secret, delivery_id="evt-2")
    without = deliver(unique.id, secret, {"order": {"status": "paid"}}, delivery_id="evt-3")

    execution = Execution.objects.get()
    assert said(first)["execution_id"] == str(execution.id)
    assert said(second)["skipped"] == "skipped_duplicate"
    assert (without.status_code, said(without)["code"]) == (400, "unusable_payload")
    assert (execution.limit_key, execution.unique_key) == ("kind:order", "order")


def test_a_webhook_takes_so_many_deliveries_and_then_says_when_to_come_again(
    schedule: Schedule, secret: str, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = env.model_copy(update={"webhook_max_per_minute": 3})
    monkeypatch.setattr(webhooks, "env", few)
    other = on_webhook(owner)
    others = secret_of(other)

    answers = [deliver(schedule.id, secret, delivery_id=f"evt-{n}") for n in range(4)]

    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert answers[-1]["Retry-After"] == "20"
    assert deliver(other.id, others).status_code == 202


def test_strangers_cannot_use_up_what_a_webhook_takes(
    schedule: Schedule, secret: str, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = env.model_copy(update={"webhook_max_per_minute": 1})
    monkeypatch.setattr(webhooks, "env", few)
    wrong = secret_of(on_webhook(owner))

    for number in range(5):
        assert deliver(schedule.id, wrong, delivery_id=f"{number}").status_code == 401

    assert deliver(schedule.id, secret).status_code == 202


def test_a_secret_is_made_at_a_terminal(schedule: Schedule, secret: str, owner: User) -> None:
    ended = run("schedule", "rotate-secret", schedule.name, "--user", owner.username, "--json")

    newer = ended.document["secret"]
    assert (ended.exit_code, ended.document["url"]) == (0, f"/api/webhooks/{schedule.id}")
    assert deliver(schedule.id, secret).status_code == 401
    assert deliver(schedule.id, newer).status_code == 202


@pytest.mark.parametrize("hours", ["-1", "169", "nan"])
def test_an_overlap_that_makes_no_sense_is_refused(
    schedule: Schedule, secret: str, owner: User, hours: str
) -> None:
    ended = run(
        "schedule", "rotate-secret", schedule.name, f"--overlap-hours={hours}",
        "--user", owner.username,
    )  # fmt: skip

    assert ended.exit_code == 2
    assert deliver(schedule.id, secret).status_code == 202


def test_a_delivery_is_forgotten_after_a_month(schedule: Schedule, secret: str) -> None:
    deliver(schedule.id, secret)
    now = datetime.now(UTC)

    retention.apply(now + timedelta(days=29))
    kept = WebhookDelivery.objects.count()
    retention.apply(now + timedelta(days=31))

    assert (kept, WebhookDelivery.objects.count()) == (1, 0)


def test_keys_are_rotated_and_secrets_stay_what_they_are(
    schedule: Schedule, secret: str, settings: Settings
) -> None:
    old, new = settings.FIELD_ENCRYPTION_KEYS, [Fernet.generate_key().decode()]

    settings.FIELD_ENCRYPTION_KEYS = [*new, *old]
    rotated = run("rotate_keys", "--json")
    settings.FIELD_ENCRYPTION_KEYS = new

    assert (rotated.exit_code, rotated.document) == (0, {"renewed": 1})
    assert deliver(schedule.id, secret).status_code == 202


def test_a_secret_that_no_key_reads_is_no_secret(
    schedule: Schedule, secret: str, settings: Settings
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    assert deliver(schedule.id, secret).status_code == 401
    assert run("rotate_keys").exit_code == 5


def test_names_in_a_filter_are_the_senders_own(owner: User) -> None:
    conditions = {"orderId": {"eq": 7}, "lineItems.0.unitPrice": {"gt": 1}}
    words = {
        "name": "camels",
        "taskType": "http_request",
        "taskConfig": {"url": "http://127.0.0.1:1/"},
        "triggerType": "event_driven",
        "triggerConfig": {"source": "webhook", "filter": conditions},
    }

    row = signed_in(owner).post("/api/scheduler/schedules", words).json()

    assert row["trigger_config"] == {"source": "webhook", "filter": conditions}


def test_deliveries_are_listed_with_what_came_of_them(
    schedule: Schedule, secret: str, owner: User
) -> None:
    deliver(schedule.id, secret, delivery_id="evt-1")
    deliver(schedule.id, secret, {"kind": "refund"}, delivery_id="evt-2")
    deliver(schedule.id, secret, delivery_id="evt-1")
    other = on_webhook(owner, overlap_policy="allow")
    deliver(other.id, secret_of(other), delivery_id="evt-1")
    path = f"/api/scheduler/webhooks/{schedule.id}/deliveries"
    execution = Execution.objects.get(schedule_id=schedule.id)

    listed = signed_in(owner).get(path).json()["results"]
    found = signed_in(owner).get(path, {"deliveryId": "evt-1"}).json()["results"]
    unmatched = signed_in(owner).get(path, {"reason": "not_matched"}).json()["results"]
    User.objects.create_superuser("root")
    shown = run("schedule", "deliveries", str(schedule.id), "--json").document

    assert [(one["delivery_id"], one["execution_id"], one["reason"]) for one in listed] == [
        ("evt-2", None, "not_matched"),
        ("evt-1", str(execution.id), ""),
    ]
    assert (found, unmatched) == (listed[1:], listed[:1])
    assert [one["delivery_id"] for one in shown] == ["evt-2", "evt-1"]
    assert shown[0].keys() == listed[0].keys()


def test_deliveries_go_page_by_page_and_are_their_owners(
    schedule: Schedule, secret: str, owner: User
) -> None:
    for number in range(3):
        deliver(schedule.id, secret, delivery_id=f"evt-{number}")
    path = f"/api/scheduler/webhooks/{schedule.id}/deliveries"

    first = signed_in(owner).get(path, {"page_size": 2}).json()
    second = signed_in(owner).get(first["next"]).json()

    told = [one["delivery_id"] for page in (first, second) for one in page["results"]]
    assert told == ["evt-2", "evt-1", "evt-0"]
    assert second["next"] is None
    assert signed_in(UserFactory.create()).get(path).status_code == 404
