"""What starts without a clock: a webhook, an event, an upstream; on a real web, beat and worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from executions_app.audit import SYSTEM
from executions_app.models import Event, Execution
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.sources import webhook_secrets
from tests.journeys import scenario
from tests.journeys.scenario import reaches, run, schedule
from tests.journeys.web import serving
from tests.processes import System

pytestmark = pytest.mark.journey


@pytest.fixture
def web(system: System) -> Iterator[str]:
    """The address of a real web process."""
    with serving(system) as url:
        yield url


def on(trigger_type: str, config: dict[str, Any], **words: Any) -> Schedule:
    return schedule(
        trigger_type=trigger_type, trigger_config=config, overlap_policy="allow", **words
    )


def of(started: Schedule) -> list[Execution]:
    return list(Execution.objects.filter(schedule_id=started.id).order_by("number"))


def first_of(system: System, started: Schedule) -> Execution:
    found = system.until(lambda: of(started), what=f"{started.name} is started")
    return reaches(system, found[0].id, "completed")


def test_a_webhook_becomes_a_completed_execution_with_its_payload(system: System, web: str) -> None:
    hook = on("event_driven", {"source": "webhook", "filter": {"kind": {"eq": "order"}}})
    secret = webhook_secrets.rotate(hook.id, actor=SYSTEM)
    now = datetime.now(UTC)

    def deliver(payload: dict[str, Any], delivery_id: str) -> requests.Response:
        body = json.dumps(payload)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(delivery_id, now, body),
        }
        return requests.post(f"{web}/api/webhooks/{hook.id}", body, headers=headers, timeout=30)

    answers = [deliver({"kind": "order", "id": 7}, "evt-1") for _ in range(3)]
    other = deliver({"kind": "refund"}, "evt-2")
    in_parts = requests.post(
        f"{web}/api/webhooks/{hook.id}", iter([b"[" * 1000] * 300), timeout=30,
        headers={"Content-Type": "application/json"},
    )  # fmt: skip

    done = first_of(system, hook)
    assert {answer.status_code for answer in (*answers, other)} == {202}
    assert {answer.json()["execution_id"] for answer in answers} == {str(done.id)}
    assert other.json()["matched"] is False
    assert in_parts.status_code == 413
    assert done.parameters == {"event": {"kind": "order", "id": 7}}
    assert len(of(hook)) == 1


def test_a_failure_starts_whoever_listens_for_it_once(system: System) -> None:
    alarm = on(
        "event_driven",
        {
            "source": "internal",
            "event": "execution:failed",
            "filter": {"data.name": {"matches": "billing-*"}},
        },
    )
    failing = run({"fails": 1, "error_class": "permanent"}, name="billing-eu")
    run({"fails": 1, "error_class": "permanent"}, name="mailing")

    done = first_of(system, alarm)

    reaches(system, failing, "failed")
    assert done.parameters["event"]["execution_id"] == str(failing)
    assert done.correlation_id == scenario.one(failing).correlation_id
    assert len(of(alarm)) == 1


def test_a_schedule_that_listens_to_all_ends_does_not_run_for_ever(system: System) -> None:
    endless = on("event_driven", {"source": "internal", "event": "execution:completed"})
    ended = run()

    done = first_of(system, endless)

    assert done.parameters["event"]["execution_id"] == str(ended)
    system.until(lambda: refusals(endless), what="its own end was refused")
    assert len(of(endless)) == 1


def refusals(of: Schedule) -> int:
    return Event.objects.filter(type="schedule:start_refused", schedule_id=of.id).count()


def test_two_upstreams_lead_to_one_execution_with_both_results(system: System) -> None:
    both = [schedule(name="import-orders"), schedule(name="import-stock")]
    names = [one.name for one in both]
    report = on("dependent", {"upstreams": names, "mode": "all"}, name="report")
    last = on("dependent", {"upstreams": ["report"]}, name="last")

    ran = [schedules.trigger(one, actor=SYSTEM) for one in both]

    done, end = first_of(system, report), first_of(system, last)
    handed = done.parameters["upstream"]
    assert {name: (one["execution_id"], one["result"]) for name, one in handed.items()} == {
        name: (str(execution), "done") for name, execution in zip(names, ran, strict=True)
    }
    assert list(end.parameters["upstream"]) == ["report"]
    assert (len(of(report)), len(of(last))) == (1, 1)
    fire = FireRecord.objects.get(schedule_id=last.id)
    assert (fire.cause, fire.reason) == (f"dependency:{done.id}", "dispatched")


def test_a_failed_upstream_starts_those_who_wait_for_failures_only(system: System) -> None:
    first = schedule({"fails": 1, "error_class": "permanent"}, name="first")
    repair = on("dependent", {"upstreams": ["first"], "on": "failure"})
    follow = on("dependent", {"upstreams": ["first"], "on": "success"})
    after = on("dependent", {"upstreams": ["first"], "on": "end"})

    schedules.trigger(first, actor=SYSTEM)

    assert first_of(system, repair).parameters["upstream"]["first"]["status"] == "failed"
    first_of(system, after)
    assert of(follow) == []
