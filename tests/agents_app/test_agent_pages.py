"""The page of agents: who sees what of them, and what its forms do."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from agents_app.models import Agent, Cycle
from tests.agents_app import objects
from tests.agents_app.objects import agent, credential, provider, working
from tests.fakes.model_script import fails, says
from tests.fakes.model_server import model_server

pytestmark = pytest.mark.django_db
MOST_QUERIES = 14


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ada() -> User:
    return objects.person()


@pytest.fixture
def operator() -> Client:
    return browser_of(objects.operator())


def text(client: Client, **headers: str) -> str:
    answer = client.get("/agents", headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_nobody_gets_in_without_a_name(client: Client) -> None:
    assert client.get("/agents").status_code == 302


def test_an_empty_page_says_what_to_do(ada: User) -> None:
    assert "OPENAI_API_KEY" in text(browser_of(ada))


def test_agents_are_shown_with_room_health_and_cost(ada: User, operator: Client) -> None:
    made = agent(name="warmer", max_concurrent=4)
    mine = working(made, owner=ada)
    other = working(made, owner=objects.person())
    Cycle.objects.filter(id=mine.id).update(prompt_tokens=1000, cost_usd=Decimal("1.5"))
    Cycle.objects.filter(id=other.id).update(completion_tokens=234, cost_usd=Decimal("0.25"))
    Agent.objects.update(last_error="quotes what others asked")

    shown, all_shown = text(browser_of(ada)), text(operator)

    for word in ("warmer", "available", "2 <small>of 4", ">1000<", ">1.50<"):
        assert word in shown
    assert "quotes what others asked" not in shown
    assert "/test" not in shown
    for word in (">1234<", ">1.75<", "quotes what others asked", f"{made.id}/test"):
        assert word in all_shown
    assert "<html" not in text(operator, **{"HX-Request": "true"})


def test_only_operators_pause_and_test(ada: User, operator: Client) -> None:
    made = agent()

    assert browser_of(ada).post(f"/agents/{made.id}/pause").status_code == 403
    operator.post(f"/agents/{made.id}/pause")
    assert Agent.objects.get().enabled is False
    operator.post(f"/agents/{made.id}/resume")
    assert Agent.objects.get().enabled is True
    assert operator.post(f"/agents/{made.id}/explode").status_code == 404
    assert operator.get(f"/agents/{made.id}/pause").status_code == 405


def test_a_test_says_whether_the_model_answers(operator: Client) -> None:
    with model_server() as server:
        credential(name="key", value="sk-s3cr3t-of-a-provider")
        provider(name="local", base_url=server.url, credential="key")
        made = agent(name="warmer", provider="local")
        server.on("probe", says('{"ok": true}'), fails(400, "no such model"))

        well = operator.post(f"/agents/{made.id}/test", follow=True).content.decode()
        badly = operator.post(f"/agents/{made.id}/test", follow=True)

    assert "Agent warmer answers" in well
    assert "no such model" in badly.content.decode()
    assert "s3cr3t" not in badly.content.decode()


def test_the_page_costs_the_same_however_many_agents_there_are(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(60):
        agent()

    with django_assert_max_num_queries(MOST_QUERIES):
        shown = text(operator)

    assert shown.count("data-agent=") == 50
    assert 'rel="next"' in shown
