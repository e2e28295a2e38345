"""What cycles may use, over HTTP: who sees it, who changes it, and that no secret comes back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from agents_app.cycle import rows
from agents_app.models import Agent, Credential, Cycle, Endpoint, ModelCall, Provider
from agents_app.objects import agents, credentials
from executions_app import clock, ids
from executions_app.api import pagination
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from tests.agents_app import objects
from tests.agents_app.objects import SECRET, agent, credential, endpoint, provider, working
from tests.rest import ids_of, signed_in

pytestmark = pytest.mark.django_db
AGENTS, PROVIDERS = "/api/agents", "/api/agents/providers"
ENDPOINTS, CREDENTIALS = "/api/agents/endpoints", "/api/agents/credentials"
MOST_QUERIES = 12


@pytest.fixture
def person() -> User:
    return objects.person()


@pytest.fixture
def caller(person: User) -> APIClient:
    return signed_in(person)


@pytest.fixture
def operator() -> APIClient:
    return signed_in(objects.operator())


def pointers(answer: Any) -> set[str]:
    return {one["pointer"] for one in answer.json()["errors"]}


@pytest.mark.parametrize("path", [AGENTS, PROVIDERS, ENDPOINTS, CREDENTIALS])
def test_nobody_gets_in_without_a_name(path: str) -> None:
    assert APIClient().get(path).status_code == 401
    assert APIClient().post(path, {}).status_code == 401


def test_a_credential_is_made_rotated_and_removed_and_never_shown(
    caller: APIClient, person: User
) -> None:
    words = {"name": "key", "kind": "header", "parameter": "X-Key", "value": SECRET}

    made = caller.post(CREDENTIALS, words, headers={"Idempotency-Key": "once"})
    again = caller.post(CREDENTIALS, words, headers={"Idempotency-Key": "once"})
    where = made["Location"]
    read, listed = caller.get(where), caller.get(CREDENTIALS)
    refused = caller.post(CREDENTIALS, {**words, "kind": "basic"})
    Credential.objects.update(rotated_at=clock.now() - timedelta(days=1))
    rotated = caller.patch(where, {"value": "n3w-s3cr3t"})

    assert (made.status_code, again.json()) == (201, made.json())
    shown = made.json()
    assert (shown["has_value"], shown["owner"], shown["shared"]) == (True, person.pk, False)
    assert "value" not in shown
    assert rotated.json()["rotated_at"] == shown["rotated_at"]
    assert refused.status_code == 400
    for answer in (made, read, listed, refused, rotated, caller.delete(where)):
        assert "s3cr3t" not in answer.content.decode()
    assert caller.get(where).status_code == 404


def test_shared_credentials_are_seen_by_all_and_changed_by_operators(
    caller: APIClient, operator: APIClient
) -> None:
    words = {"name": "shared", "value": SECRET, "shared": True}
    assert caller.post(CREDENTIALS, words).status_code == 403

    refused = operator.post(CREDENTIALS, words)
    assert (refused.status_code, pointers(refused)) == (400, {"/hosts"})

    words["hosts"] = ["api.example.com"]
    where = operator.post(CREDENTIALS, words)["Location"]
    assert caller.get(where).json()["hosts"] == ["api.example.com"]

    assert caller.get(where).json()["shared"] is True
    assert ids_of(caller.get(f"{CREDENTIALS}?shared=true").json())
    assert caller.patch(where, {"value": "x1"}).status_code == 403
    assert caller.delete(where).status_code == 403
    assert operator.patch(where, {"shared": False}).status_code == 400
    assert operator.patch(where, {"value": "x1", "shared": True}).status_code == 200
    assert operator.delete(where).status_code == 204


def test_what_belongs_to_others_is_not_there(caller: APIClient, operator: APIClient) -> None:
    other = objects.person()
    secret, called = credential(other), endpoint(other)

    for client in (caller, operator):
        for path in (f"{CREDENTIALS}/{secret.id}", f"{ENDPOINTS}/{called.id}"):
            assert client.get(path).status_code == 404
            assert client.patch(path, {"name": "mine"}).status_code == 404
            assert client.delete(path).status_code == 404
        assert ids_of(client.get(ENDPOINTS).json()) == []
        assert ids_of(client.get(CREDENTIALS).json()) == []
    root = signed_in(User.objects.create_superuser("root"))
    assert ids_of(root.get(ENDPOINTS).json()) == [str(called.id)]
    assert ids_of(root.get(CREDENTIALS).json()) == [str(secret.id)]


def test_a_caller_cannot_make_something_for_somebody_else(caller: APIClient, person: User) -> None:
    words = {"name": "a", "url": "https://example.com/", "owner": objects.person().pk}

    made = caller.post(ENDPOINTS, words)

    assert made.status_code == 201
    assert made.json()["owner"] == person.pk


def test_an_endpoint_is_made_in_camel_case_changed_and_removed(caller: APIClient) -> None:
    words = {
        "name": "warm",
        "method": "POST",
        "url": "https://example.com/{region}",
        "parametersSchema": {
            "properties": {"region": {"type": "string"}, "maxAge": {"type": "integer"}},
            "required": ["region"],
        },
        "sideEffect": "write",
        "timeoutMs": 500,
        "retry": {"maxRetries": 1},
    }
    made = caller.post(ENDPOINTS, words)
    assert made.status_code == 201, made.json()
    where, shown = made["Location"], made.json()
    assert (shown["timeout_ms"], shown["retry"]) == (500, {"max_retries": 1})
    assert set(shown["parameters_schema"]["properties"]) == {"region", "maxAge"}

    assert caller.patch(where, {"critical": True}).json()["critical"] is True
    wrong = caller.patch(where, {"timeoutMs": 0, "headers": {"Authorization": "Basic abcdefgh"}})
    assert pointers(wrong) == {"/timeout_ms", "/headers"}
    assert caller.post(ENDPOINTS, {**words, "sideeffects": 1}).status_code == 400
    assert pointers(caller.post(ENDPOINTS, words)) == {"/name"}
    assert caller.delete(where).status_code == 204


def test_what_is_used_is_not_removed_and_the_answer_says_by_whom(
    caller: APIClient, person: User, operator: APIClient
) -> None:
    secret = credential(person, name="key")
    endpoint(person, name="warm", headers={"Authorization": {"credential": "key"}})
    asked = provider(name="local")
    agent(name="warmer", provider="local")

    for client, path, user in (
        (caller, f"{CREDENTIALS}/{secret.id}", "'warm'"),
        (operator, f"{PROVIDERS}/{asked.id}", "'warmer'"),
    ):
        refused = client.delete(path)
        assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
        assert user in refused.json()["detail"]


def test_providers_are_the_operators(caller: APIClient, operator: APIClient) -> None:
    credential(name="openai", hosts=["api.openai.com"])
    words = {
        "name": "openai",
        "baseUrl": "https://api.openai.com/v1",
        "credential": "openai",
        "models": [{"name": "gpt-4o-mini", "usdPer1mInput": "0.15", "usdPer1mOutput": 0.6}],
    }
    for answer in (caller.get(PROVIDERS), caller.post(PROVIDERS, words)):
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_needed")

    made = operator.post(PROVIDERS, words)
    assert made.status_code == 201, made.json()
    where, shown = made["Location"], made.json()
    assert (shown["credential"], shown["fallback_provider"]) == ("openai", None)
    assert shown["models"][0]["usd_per_1m_output"] == "0.6"
    assert SECRET not in json.dumps([shown, operator.get(PROVIDERS).json()])
    for answer in (caller.get(where), caller.patch(where, {}), caller.delete(where)):
        assert answer.status_code == 403
    changed = operator.patch(where, {"models": [], "credential": None})
    assert (changed.json()["models"], changed.json()["credential"]) == ([], None)
    assert pointers(operator.patch(where, {"base_url": "nowhere"})) == {"/base_url"}
    assert operator.delete(where).status_code == 204


def test_agents_are_seen_by_all_and_changed_by_operators(
    caller: APIClient, operator: APIClient
) -> None:
    provider(name="local", models=[{"name": "small"}])
    words = {"name": "warmer", "provider": "local", "maxConcurrent": 2, "capabilities": ["caches"]}
    assert caller.post(AGENTS, words).status_code == 403

    made = operator.post(AGENTS, words)
    where, shown = made["Location"], made.json()

    assert (made.status_code, shown["provider"], shown["model"]) == (201, "local", "small")
    assert shown["capacity"] == {"max": 2, "used": 0, "free": 2, "utilisation": 0.0}
    assert shown["state"] == "available"
    assert caller.get(where).json()["name"] == "warmer"
    assert ids_of(caller.get(f"{AGENTS}?capability=caches").json()) == [shown["id"]]
    assert ids_of(caller.get(f"{AGENTS}?capability=other").json()) == []
    assert caller.patch(where, {"enabled": False}).status_code == 403
    assert caller.delete(where).status_code == 403
    assert operator.patch(where, {"enabled": False}).json()["state"] == "disabled"
    assert pointers(operator.patch(where, {"fallbackAgent": "warmer"})) == {"/fallback_agent"}
    assert operator.delete(where).status_code == 204


def test_what_an_agent_failed_of_is_shown_to_operators(
    caller: APIClient, operator: APIClient
) -> None:
    made = agent()
    Agent.objects.filter(id=made.id).update(last_error="it said: what others asked")

    path = f"{AGENTS}/{made.id}"
    assert caller.get(path).json()["last_error"] == ""
    assert "what others asked" not in caller.get(AGENTS).content.decode()
    assert operator.get(path).json()["last_error"] == "it said: what others asked"


def test_capacity_is_counted_from_running_cycles(caller: APIClient, person: User) -> None:
    made = agent(max_concurrent=2)
    working(made, owner=person)
    working(made, owner=objects.person())

    found = caller.get(f"{AGENTS}/{made.id}/capacity").json()

    assert found == {
        "agent_id": str(made.id),
        "name": made.name,
        "state": "full",
        "max": 2,
        "used": 2,
        "free": 0,
        "utilisation": 1.0,
    }
    assert caller.get(f"{AGENTS}/{person_id()}/capacity").status_code == 404


def person_id() -> str:
    return "0195f2c4-9000-7a0b-8d11-5a6b7c8d9e0f"


def test_a_list_of_agents_costs_the_same_however_many_there_are(
    caller: APIClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(30):
        agent()

    with django_assert_max_num_queries(MOST_QUERIES):
        page = caller.get(f"{AGENTS}?page_size=10&ordering=name").json()

    assert len(page["results"]) == 10
    assert page["next"] is not None
    names = [one["name"] for one in page["results"]]
    assert names == sorted(names)


def test_sessions_are_the_callers_executions_with_that_agent(
    caller: APIClient, person: User
) -> None:
    one, other = agent(), agent()
    mine = working(one, owner=person)
    working(other, owner=person)
    working(one, owner=objects.person())

    path = f"{AGENTS}/{one.id}/sessions"

    assert ids_of(caller.get(path).json()) == [str(mine.execution_id)]
    assert ids_of(caller.get(f"{path}?status=queued").json()) == [str(mine.execution_id)]
    assert ids_of(caller.get(f"{path}?status=failed").json()) == []
    assert caller.get(f"{path}?nonsense=1").status_code == 400
    assert caller.get(f"{AGENTS}/{person_id()}/sessions").status_code == 404


def named_in(agent: Agent, *, owner: User) -> Cycle:
    """A cycle of an execution that names the agent, which carries it out."""
    snapshot = {"name": "warm", "task_type": "agent", "timeout_ms": 1000}
    cycle = working(agent, owner=owner)
    Execution.objects.filter(id=cycle.execution_id).update(
        snapshot={**snapshot, "task_config": {"goal": "keep warm", "agent": agent.name}}
    )
    return cycle


def left_by_its_agent(cycle: Cycle) -> None:
    """Another attempt goes on, and while the agent is left out, it does so without one."""
    seen = (cycle.seen_version, cycle.seen_next_run_at)
    rows.take_over(cycle, token=cycle.token, deadline=cycle.deadline, seen=seen)


def test_what_names_an_agent_is_its_session_while_the_agent_is_left_out(
    caller: APIClient, person: User
) -> None:
    one, other = agent(), agent()
    mine = named_in(one, owner=person)
    for cycle in (mine, named_in(other, owner=person), named_in(one, owner=objects.person())):
        left_by_its_agent(cycle)
    path = f"{AGENTS}/{one.id}/sessions"

    found = caller.get(path).json()

    assert Cycle.objects.get(id=mine.id).agent_id is None
    assert ids_of(found) == [str(mine.execution_id)]
    assert ids_of(caller.get(f"{path}?status=queued").json()) == [str(mine.execution_id)]
    assert ids_of(caller.get(f"{path}?status=failed").json()) == []


def test_what_asked_models_as_an_agent_is_its_session_though_nobody_carries_it_out(
    caller: APIClient, person: User
) -> None:
    one, other = agent(), agent()
    mine, theirs = working(one, owner=person), working(other, owner=person)
    for asked, by in ((mine, one), (mine, one), (theirs, other)):
        ModelCall.objects.create(
            id=ids.new(clock.now()),
            execution_id=asked.execution_id,
            cycle_id=asked.id,
            owner_id=person.pk,
            agent_id=by.id,
            provider="p",
            model="small",
            phase="plan",
            status="ok",
        )
        left_by_its_agent(asked)

    found = caller.get(f"{AGENTS}/{one.id}/sessions").json()

    assert ids_of(found) == [str(mine.execution_id)]


def test_what_names_an_agent_and_has_not_begun_is_no_session_yet(
    caller: APIClient, person: User
) -> None:
    one = agent()
    cycle = named_in(one, owner=person)
    Cycle.objects.filter(id=cycle.id).delete()

    assert ids_of(caller.get(f"{AGENTS}/{one.id}/sessions").json()) == []


def test_sessions_are_looked_for_page_by_page_at_the_same_cost(
    caller: APIClient,
    person: User,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_THROUGH", 4)
    one, other = agent(), agent()
    mine = [named_in(one, owner=person) for _ in range(2)]
    for _ in range(5):
        working(other, owner=person)
    left_by_its_agent(mine[0])
    pages, following = [], f"{AGENTS}/{one.id}/sessions"

    while following:
        with django_assert_max_num_queries(MOST_QUERIES):
            page = caller.get(following).json()
        pages.append(ids_of(page))
        following = page["next"]

    assert len(pages) == 2
    found = [one for page in pages for one in page]
    assert found == sorted((str(cycle.execution_id) for cycle in mine), reverse=True)


def test_unusable_words_are_refused_and_not_a_fault(caller: APIClient, operator: APIClient) -> None:
    for client, path in (
        (caller, CREDENTIALS), (caller, ENDPOINTS), (operator, PROVIDERS), (operator, AGENTS),
    ):  # fmt: skip
        for name in (None, ["a"], {"a": 1}, 7, ""):
            assert client.post(path, {"name": name}).status_code == 400
    unusable: list[dict[str, Any]] = [
        {"name": "a", "url": ["x"]},
        {"name": "a", "url": "https://example.com", "headers": {"X": 7}},
        {"name": "a", "url": "https://example.com", "headers": [1]},
        {"name": "a", "url": "https://example.com", "parameters_schema": {"properties": 7}},
        {"name": "a", "url": "https://example.com", "parameters_schema": {"$defs": {"a": 7}}},
        {"name": "a", "url": "https://example.com", "parameters_schema": {"$ref": "#/a~2/b"}},
        {"name": "a", "url": "https://example.com", "retry": 7},
        {"name": "a", "url": "https://example.com/\u0000"},
    ]
    for words in unusable:
        assert caller.post(ENDPOINTS, words).status_code == 400, words
    assert caller.post(CREDENTIALS, {"name": "a", "value": "x", "shared": "yes"}).status_code == 400
    assert not Endpoint.objects.exists()
    assert not Credential.objects.exists()


def test_what_is_gone_meanwhile_is_not_found(operator: APIClient) -> None:
    made = agent()
    agents.remove(made.id, actor=SYSTEM)
    assert operator.patch(f"{AGENTS}/{made.id}", {}).status_code == 404
    assert operator.get(f"{PROVIDERS}/{made.id}").status_code == 404
    shared = credential()
    credentials.remove(shared.id, actor=SYSTEM)
    assert operator.delete(f"{CREDENTIALS}/{shared.id}").status_code == 404
    assert Provider.objects.count() == 1
