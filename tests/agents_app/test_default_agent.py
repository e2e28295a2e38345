"""With one key in the environment there is an agent; without it, it is used no more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from agents_app.interfaces.registry import TaskAgentRegistry
from agents_app.models import Agent, Provider
from agents_app.objects import agents, defaults, environment, providers, standing
from agents_app.objects.drafts import InUse, Invalid
from agents_app.objects.standing import AgentState
from agents_app.selection import Requirements
from config.env import env
from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import AuditEntry
from tests.agents_app.objects import agent, everything_audited, provider

KEY = "sk-of-the-environment-0123456789"
Given = Callable[..., None]
database = pytest.mark.django_db


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Sets the environment's words about models; all others are empty."""
    names = ("openai_api_key", "openai_base_url", "anthropic_api_key", "llm_model")

    def set_(**words: Any) -> None:
        whole = {**dict.fromkeys(names, ""), **words}
        monkeypatch.setattr(environment, "env", env.model_copy(update=whole))

    set_()
    return set_


@database
def test_without_a_key_nothing_is_made_and_nothing_asked(
    given: Given, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert defaults.ensure() is None

    assert not Provider.objects.exists()


@database
def test_one_key_is_enough(given: Given, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    given(openai_api_key=KEY)

    made = defaults.ensure()

    assert made is not None
    assert (made.name, made.provider.name, made.model) == ("default", "default", "gpt-4o-mini")
    assert providers.connection(made.provider) == providers.Connection("", KEY)
    with django_assert_num_queries(1):
        assert defaults.ensure() == made
    assert AuditEntry.objects.filter(object_type__in=["agent", "provider"]).count() == 2


@database
def test_the_key_is_stored_nowhere(given: Given) -> None:
    given(openai_api_key=KEY)
    defaults.ensure()

    rows = [*Provider.objects.values(), *Agent.objects.values()]
    assert KEY not in repr(rows)
    assert KEY not in everything_audited()
    assert KEY not in repr(environment.provider())
    assert KEY not in repr(env.model_copy(update={"openai_api_key": KEY}))


@database
@pytest.mark.parametrize(
    ("words", "base_url", "model"),
    [
        ({"openai_api_key": KEY, "llm_model": "large"}, "", "large"),
        ({"openai_api_key": KEY, "openai_base_url": "http://local/v1"}, "http://local/v1", ""),
        ({"anthropic_api_key": KEY}, environment.ANTHROPIC_URL, environment.ANTHROPIC_MODEL),
        ({"anthropic_api_key": "other", "openai_api_key": KEY}, "", environment.OPENAI_MODEL),
    ],
)
def test_address_and_model_are_those_of_the_environment(
    given: Given, words: dict[str, str], base_url: str, model: str
) -> None:
    given(**words)

    made = defaults.ensure()

    assert made is not None
    assert (made.provider.base_url, made.model) == (base_url, model)
    assert providers.connection(made.provider) == providers.Connection(base_url, KEY)


@database
def test_it_follows_the_environment_and_forgets_what_it_knew_of_before(given: Given) -> None:
    given(openai_api_key=KEY)
    defaults.ensure()
    Provider.objects.update(mode="text", failures_in_row=4)
    Agent.objects.update(failures_in_row=4, instructions="kept")

    given(openai_api_key=KEY, openai_base_url="http://local/v1", llm_model="large")
    made = defaults.ensure()

    assert made is not None
    made.refresh_from_db()
    assert (made.model, made.failures_in_row, made.instructions) == ("large", 0, "kept")
    row = made.provider
    assert (row.base_url, row.mode, row.failures_in_row) == ("http://local/v1", "", 0)
    assert Agent.objects.count() == Provider.objects.count() == 1


@database
def test_a_key_never_goes_to_an_address_that_the_environment_does_not_name(given: Given) -> None:
    given(openai_api_key=KEY, openai_base_url="http://before/v1")
    made = defaults.ensure()
    assert made is not None

    given(openai_api_key=KEY, openai_base_url="http://after/v1")

    found = providers.connection(made.provider)
    assert found is not None
    assert found.base_url == "http://after/v1"


@database
def test_without_its_key_it_stays_and_is_used_no_more(given: Given) -> None:
    given(openai_api_key=KEY)
    made = defaults.ensure()
    assert made is not None
    own = agent(name="own")

    def state() -> AgentState:
        (found,) = standing.of(agents.with_use().filter(id=made.id), now=clock.now())
        return found.state

    assert state() == AgentState.AVAILABLE
    given()

    assert defaults.ensure() is None
    assert providers.connection(made.provider) is None
    assert list(Agent.objects.filter(agents.usable())) == [own]
    assert state() == AgentState.UNREACHABLE
    given(openai_api_key=KEY)
    assert set(Agent.objects.filter(agents.usable())) == {own, made}


@database
def test_its_tools_are_those_of_the_product_that_only_read(given: Given) -> None:
    given(openai_api_key=KEY)

    made = defaults.ensure()

    assert made is not None
    assert made.tools == ["json_extract", "now", "read_execution", "wait"]
    wanted = Requirements(tools=("now",))
    assert TaskAgentRegistry().find_capable_agents(wanted) == [made]


@database
def test_one_from_before_gets_its_tools_and_keeps_what_it_learned(
    given: Given, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    given(openai_api_key=KEY)
    defaults.ensure()
    Agent.objects.update(tools=[], instructions="kept", failures_in_row=2)

    made = defaults.ensure()

    assert made is not None
    made.refresh_from_db()
    assert ("now" in made.tools, made.instructions, made.failures_in_row) == (True, "kept", 2)
    told = AuditEntry.objects.get(object_id=str(made.id), action="agent.updated")
    assert told.after == {"tools": made.tools}
    with django_assert_num_queries(1):
        assert defaults.ensure() == made


@database
@pytest.mark.parametrize("chosen", [[], ["now"], ["remember"]])
def test_tools_that_people_have_chosen_stay_as_they_are(
    given: Given, chosen: list[str], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    given(openai_api_key=KEY)
    made = defaults.ensure()
    assert made is not None
    agents.change(made.id, {"tools": chosen}, actor=SYSTEM)

    with django_assert_num_queries(2):
        assert defaults.ensure() == made

    given(openai_api_key=KEY, llm_model="large")
    followed = defaults.ensure()
    assert followed is not None
    followed.refresh_from_db()
    assert (followed.model, followed.tools) == ("large", chosen)


@database
def test_what_people_have_named_default_is_theirs(given: Given) -> None:
    mine = provider(name="default")
    given(openai_api_key=KEY)

    assert defaults.ensure() is None
    assert providers.connection(mine) == providers.Connection("http://127.0.0.1:1/v1", "")
    assert not Agent.objects.exists()


@database
def test_what_people_have_named_default_is_looked_at_and_not_locked(
    given: Given, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    agent(name="default")
    given(openai_api_key=KEY)

    assert defaults.ensure() is None
    made = Provider.objects.get(name="default")
    assert providers.connection(made) == providers.Connection("", KEY)
    with django_assert_num_queries(2):
        assert defaults.ensure() is None
    given(openai_api_key=KEY, openai_base_url="http://local/v1")
    assert defaults.ensure() is None
    made.refresh_from_db()
    assert made.base_url == "http://local/v1"


@database
def test_what_the_environment_says_is_not_said_otherwise(given: Given) -> None:
    given(openai_api_key=KEY)
    made = defaults.ensure()
    assert made is not None

    for words in ({"name": "other"}, {"base_url": "http://evil.example/v1"}):
        with pytest.raises(Invalid, match="the environment says this"):
            providers.change(made.provider_id, words, actor=SYSTEM)
    with pytest.raises(Invalid, match="the environment says this"):
        agents.change(made.id, {"model": "other"}, actor=SYSTEM)
    priced = providers.change(made.provider_id, {"models": [{"name": "gpt-4o-mini"}]}, actor=SYSTEM)
    agents.change(made.id, {"instructions": "Be brief."}, actor=SYSTEM)
    assert priced.models[0]["name"] == "gpt-4o-mini"
    with pytest.raises(InUse, match="environment"):
        agents.remove(made.id, actor=SYSTEM)
    with pytest.raises(InUse, match="environment"):
        providers.remove(made.provider_id, actor=SYSTEM)

    given()
    agents.remove(made.id, actor=SYSTEM)
    providers.remove(made.provider_id, actor=SYSTEM)
    assert not Provider.objects.exists()


@database
def test_one_without_a_model_can_be_changed_all_the_same(given: Given) -> None:
    given(openai_api_key=KEY, openai_base_url="http://local/v1")
    made = defaults.ensure()
    assert made is not None

    assert agents.change(made.id, {"max_concurrent": 2}, actor=SYSTEM).max_concurrent == 2


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one(given: Given) -> None:
    given(openai_api_key=KEY)
    together = Barrier(8)

    def ensure(_: int) -> Agent | None:
        try:
            together.wait(20)
            return defaults.ensure()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ensure, range(8)))

    assert {one and one.id for one in found} == {Agent.objects.get().id}
    assert Provider.objects.count() == 1
    assert AuditEntry.objects.filter(object_type__in=["agent", "provider"]).count() == 2
