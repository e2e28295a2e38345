"""`manage.py agents`: what it lists, shows and tests, for people and for scripts."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from agents_app.models import Agent, ModelCall
from agents_app.objects import providers
from executions_app.audit import SYSTEM
from tests.agents_app.objects import agent, audited, credential, provider, working
from tests.fakes.model_script import fails, says
from tests.fakes.model_server import ModelServer, model_server
from tests.terminal import run

pytestmark = pytest.mark.django_db
KEY = "sk-s3cr3t-of-a-provider"


@pytest.fixture(autouse=True)
def root() -> User:
    return User.objects.create_superuser("root")


def asking(server: ModelServer) -> Agent:
    credential(name="key", value=KEY)
    server.key = KEY
    provider(name="local", base_url=server.url, credential="key")
    return agent(name="warmer", provider="local", model="small")


def test_agents_are_listed_with_their_room(root: User) -> None:
    made = agent(name="warmer", max_concurrent=2, capabilities=["caches"])
    working(made, owner=root)

    listed, told = run("agents", "list", "--json"), run("agents", "list")

    assert listed.exit_code == told.exit_code == 0
    (document,) = listed.document
    assert document["capacity"] == {"max": 2, "used": 1, "free": 1, "utilisation": 0.5}
    for word in ("warmer", "available", "1 of 2", "caches"):
        assert word in told.stdout


def test_an_empty_list_says_what_to_do() -> None:
    assert "OPENAI_API_KEY" in run("agents", "list").stdout
    assert run("agents", "list", "--json").document == []


def test_one_is_shown_by_name_or_id() -> None:
    made = agent(name="warmer", instructions="Be brief.")

    by_name, by_id = run("agents", "show", "warmer", "--json"), run("agents", "show", str(made.id))

    assert by_name.document["id"] == str(made.id)
    assert "Be brief." in by_id.stdout
    unknown = run("agents", "show", "nobody", "--json")
    assert unknown.exit_code == 4
    assert unknown.document["error"]["code"] == "not_found"


def test_a_test_asks_its_model_and_says_what_it_cost() -> None:
    with model_server() as server:
        server.on("probe", says('{"ok": true}'))
        made = asking(server)

        ended = run("agents", "test", "warmer", "--json")

    assert ended.exit_code == 0, ended.stderr
    assert (ended.document["model"], ended.document["mode"]) == ("small", "json_schema")
    made.refresh_from_db()
    assert made.last_success_at is not None
    assert set(audited(made.id)) == {"agent.created", "agent.tested"}
    assert ModelCall.objects.get().phase == "probe"


def test_a_model_that_does_not_answer_is_told_without_its_key() -> None:
    with model_server() as server:
        server.on("probe", fails(400))
        asking(server)

        ended = run("agents", "test", "warmer", "--json")

    assert ended.exit_code == 1
    assert KEY not in ended.stdout + ended.stderr
    assert ended.document["error"]["message"]


def test_one_that_is_not_set_up_is_told_so_without_a_call() -> None:
    made = agent(name="warmer")
    providers.change(made.provider_id, {"enabled": False}, actor=SYSTEM)

    ended = run("agents", "test", "warmer")

    assert ended.exit_code == 5
    assert "enable it" in ended.stderr
    assert not ModelCall.objects.exists()
