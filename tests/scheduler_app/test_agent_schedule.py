"""An agent's schedule: one per agent and owner, on the table and by the functions of all others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from agents_app.agent_config import AgentConfig
from agents_app.handlers import registry
from agents_app.handlers.base import Context, Handler, Outcome
from agents_app.models import Agent
from agents_app.objects import agents
from executions_app.audit import SYSTEM
from scheduler_app.models import Schedule
from tests.agents_app import objects
from tests.rest import ids_of, signed_in

pytestmark = pytest.mark.django_db
WORDS: dict[str, Any] = {
    "scheduleType": "interval",
    "scheduleConfig": {"intervalMs": 60_000},
    "taskConfig": {"goal": "keep the caches warm", "tools": ["now"]},
}


class Planned(Handler[AgentConfig]):
    """Stands where AI schedules are carried out; here nothing is."""

    config_model = AgentConfig
    nature = "io"

    def run(self, context: Context[AgentConfig]) -> Outcome:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    if "agent" not in registry.paths():
        monkeypatch.setitem(registry._registered, "agent", Planned)


@pytest.fixture
def ada() -> User:
    return objects.person()


@pytest.fixture
def caller(ada: User) -> APIClient:
    return signed_in(ada)


@pytest.fixture
def warmer() -> Agent:
    return objects.agent(name="warmer")


def at(agent: Agent) -> str:
    return f"/api/agents/{agent.id}/schedule"


def pointers(answer: Any) -> set[str]:
    return {one["pointer"] for one in answer.json()["errors"]}


def test_it_is_made_changed_read_and_removed(caller: APIClient, ada: User, warmer: Agent) -> None:
    assert caller.get(at(warmer)).status_code == 404

    made = caller.post(at(warmer), WORDS)
    changed = caller.post(at(warmer), {"priority": "high"})
    read = caller.get(at(warmer))

    assert made.status_code == 201, made.json()
    assert made["Location"] == f"/api/scheduler/schedules/{made.json()['id']}"
    assert (made.json()["name"], made.json()["task_type"]) == ("warmer", "agent")
    assert made.json()["task_config"]["agent"] == "warmer"
    assert (changed.status_code, changed.json()["id"]) == (200, made.json()["id"])
    assert read.json()["priority"] == "high"
    assert read.json()["schedule_config"] == {"interval_ms": 60_000}
    assert read["ETag"] == '"2"'
    assert Schedule.objects.get().owner == ada
    assert caller.delete(at(warmer)).status_code == 204
    assert caller.delete(at(warmer)).status_code == 404
    assert not Schedule.objects.exists()


def test_each_owner_has_their_own(caller: APIClient, warmer: Agent) -> None:
    bob = signed_in(objects.person())
    mine = caller.post(at(warmer), WORDS).json()

    assert bob.get(at(warmer)).status_code == 404
    theirs = bob.post(at(warmer), WORDS)
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine["id"]
    assert bob.delete(at(warmer)).status_code == 204
    assert caller.get(at(warmer)).json()["id"] == mine["id"]


def test_words_about_something_else_are_refused(caller: APIClient, warmer: Agent) -> None:
    config = WORDS["taskConfig"]
    for words, pointer in (
        ({**WORDS, "taskType": "shell_command"}, "/task_type"),
        ({**WORDS, "taskConfig": {**config, "agent": "other"}}, "/task_config/agent"),
        ({**WORDS, "taskConfig": 7}, "/task_config"),
        ({**WORDS, "scheduleConfig": {}}, "/schedule_config/interval_ms"),
    ):
        refused = caller.post(at(warmer), words)
        assert refused.status_code == 400
        assert any(one.startswith(pointer.rpartition("/")[0]) for one in pointers(refused))
    assert caller.post(at(warmer), {}).status_code == 400
    assert not Schedule.objects.exists()
    assert caller.post(f"/api/agents/{warmer.provider_id}/schedule", WORDS).status_code == 404


def test_nobody_overwrites_what_they_have_not_seen(caller: APIClient, warmer: Agent) -> None:
    caller.post(at(warmer), WORDS)
    caller.post(at(warmer), {"priority": "high"})

    stale = {"If-Match": '"1"'}
    assert caller.post(at(warmer), {"priority": "low"}, headers=stale).status_code == 412
    assert caller.delete(at(warmer), headers=stale).status_code == 412
    fresh = {"If-Match": '"2"'}
    assert caller.post(at(warmer), {"priority": "low"}, headers=fresh).status_code == 200


def test_a_repeated_request_is_done_once(caller: APIClient, warmer: Agent) -> None:
    key = {"Idempotency-Key": "once"}

    first = caller.post(at(warmer), WORDS, headers=key)
    again = caller.post(at(warmer), WORDS, headers=key)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again["Idempotent-Replay"] == "true"


@pytest.mark.parametrize(
    ("optimization", "budget"),
    [
        ({"maxMessages": 5, "maxTokens": 900}, {"tokensPerCycle": 7, "whenSpent": "skip"}),
        ({"max_messages": 5, "max_tokens": 900}, {"tokens_per_cycle": 7, "when_spent": "skip"}),
    ],
)
def test_what_it_may_use_and_be_told_is_spelled_either_way(
    caller: APIClient, warmer: Agent, optimization: dict[str, Any], budget: dict[str, Any]
) -> None:
    config = {**WORDS["taskConfig"], "promptOptimization": optimization, "budget": budget}

    made = caller.post(at(warmer), {**WORDS, "taskConfig": config})

    assert made.status_code == 201, made.json()
    stored = made.json()["task_config"]
    assert stored["prompt_optimization"] == {"max_messages": 5, "max_tokens": 900}
    assert stored["budget"] == {"tokens_per_cycle": 7, "when_spent": "skip"}
    for more, refused in (("perCycle", "per_cycle"), ("tokensPerCycle", "tokensPerCycle")):
        wrong = {**config, "budget": {"tokens_per_cycle": 7, more: 1}}
        answer = caller.post(at(warmer), {**WORDS, "taskConfig": wrong})
        assert pointers(answer) == {f"/task_config/budget/{refused}"}


@pytest.mark.django_db(transaction=True)  # ids follow time, which a transaction stops
def test_further_schedules_of_an_agent_are_found_by_its_name(
    caller: APIClient, warmer: Agent
) -> None:
    first = caller.post(at(warmer), WORDS).json()
    second = caller.post(
        "/api/scheduler/schedules",
        {
            **WORDS, "name": "second", "taskType": "agent",
            "taskConfig": {"goal": "a", "tools": ["now"], "agent": "warmer"},
        },
    ).json()  # fmt: skip
    found = caller.get("/api/scheduler/schedules?agent=warmer").json()

    assert caller.get(at(warmer)).json()["id"] == first["id"]
    assert ids_of(found) == [second["id"], first["id"]]
    assert ids_of(caller.get("/api/scheduler/schedules?agent=other").json()) == []


@pytest.mark.django_db(transaction=True)  # ids follow time, which a transaction stops
def test_scheduled_agents_are_listed_with_when_and_how(caller: APIClient, warmer: Agent) -> None:
    made = caller.post(at(warmer), WORDS).json()
    config = {"goal": "a", "tools": ["now"], "autonomy": "auto"}
    words = {**WORDS, "name": "any agent", "taskType": "agent", "taskConfig": config}
    caller.post("/api/scheduler/schedules", words)
    Schedule.objects.filter(id=made["id"]).update(last_status="completed")
    signed_in(objects.person()).post(at(warmer), WORDS)

    any_agent, named = caller.get("/api/agents/scheduled").json()["results"]

    assert named["schedule"] == {"id": made["id"], "name": "warmer"}
    assert named["agent"] == {"id": str(warmer.id), "name": "warmer"}
    assert (named["last_status"], named["priority"]) == ("completed", "normal")
    assert (named["next_run_at"], named["last_run_at"]) == (made["next_run_at"], None)
    assert (any_agent["agent"], any_agent["autonomy"]) == (None, "auto")
    page = caller.get("/api/agents/scheduled?agent=warmer&page_size=1").json()
    assert [one["schedule"]["name"] for one in page["results"]] == ["warmer"]


def test_an_agent_that_is_scheduled_stays(caller: APIClient, warmer: Agent) -> None:
    caller.post(at(warmer), WORDS)
    operator = signed_in(objects.operator())

    refused = operator.delete(f"/api/agents/{warmer.id}")

    assert refused.status_code == 409
    assert "'warmer'" in refused.json()["detail"]
    caller.delete(at(warmer))
    agents.remove(warmer.id, actor=SYSTEM)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one_schedule(caller: APIClient, ada: User, warmer: Agent) -> None:
    together = Barrier(6)
    clients = [signed_in(ada) for _ in range(6)]

    def post(place: int) -> int:
        try:
            together.wait(20)
            words = {**WORDS, "name": f"named-{place}"}
            return clients[place].post(at(warmer), words).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(post, range(6)))

    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 409}
    assert Schedule.objects.filter(task_type="agent").count() == 1
