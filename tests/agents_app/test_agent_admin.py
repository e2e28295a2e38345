"""What cycles may use and have done, in the admin: made there, and no secret is shown."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from agents_app.models import Agent, Credential, Cycle, Endpoint, Memory, ModelCall, Provider
from agents_app.objects import credentials
from executions_app import clock, ids
from tests.agents_app.objects import SECRET, agent, audited, credential, endpoint, person, working

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def browser(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def page(model: str, what: str = "changelist", *which: object) -> str:
    return reverse(f"admin:agents_app_{model}_{what}", args=which)


def staff(*models: str) -> Client:
    """A browser of somebody who may do everything to these, and sees only what is theirs."""
    user = person(is_staff=True)
    found = Permission.objects.filter(content_type__app_label="agents_app")
    user.user_permissions.set(found.filter(content_type__model__in=models))
    client = Client()
    client.force_login(user)
    return client


def test_a_credential_is_made_rotated_and_removed_and_never_shown(
    browser: Client, root: User
) -> None:
    words = {"name": "key", "kind": "header", "parameter": "X-Key", "value": SECRET}
    refused = browser.post(page("credential", "add"), {**words, "parameter": ""})
    assert "needs a parameter" in refused.content.decode()
    assert SECRET not in refused.content.decode()

    browser.post(page("credential", "add"), words)
    made = Credential.objects.get(name="key")
    one = page("credential", "change", made.id)
    shown = browser.get(one).content.decode()
    browser.post(one, {**words, "value": ""})
    kept = Credential.objects.get(id=made.id)
    browser.post(one, {**words, "value": "n3w-value"})
    rotated = Credential.objects.get(id=made.id)

    assert made.owner == root
    assert SECRET not in shown
    assert made.value not in shown
    assert credentials.secret_of(kept) == SECRET
    assert credentials.secret_of(rotated) == "n3w-value"
    browser.post(page("credential", "delete", made.id), {"post": "yes"})
    assert not Credential.objects.exists()
    assert audited(made.id)["credential.created"].actor == "root"


def test_a_credential_can_be_everybodys(browser: Client) -> None:
    words = {"name": "key", "kind": "bearer", "parameter": "", "value": SECRET, "shared": "on"}
    refused = browser.post(page("credential", "add"), words)
    assert "names the hosts" in refused.content.decode()
    browser.post(page("credential", "add"), {**words, "hosts": '["api.example.com"]'})

    made = Credential.objects.get()
    assert (made.owner, made.hosts) == (None, ["api.example.com"])
    browser.post(page("credential", "change", made.id), {**words, "hosts": '["other.example.com"]'})
    assert Credential.objects.get().hosts == ["other.example.com"]


def test_a_provider_an_agent_and_an_endpoint_are_made_and_changed(browser: Client) -> None:
    words = {"name": "local", "base_url": "http://local/v1", "enabled": "on", "models": "[]"}
    browser.post(page("provider", "add"), words)
    asked = Provider.objects.get(name="local")
    browser.post(page("provider", "change", asked.id), {**words, "models": '[{"name": "small"}]'})
    browser.post(
        page("agent", "add"),
        {
            "name": "warmer", "provider": str(asked.id), "model": "", "temperature": "0.3",
            "instructions": "Be brief.", "capabilities": '["caches"]', "tools": "",
            "max_concurrent": "2", "fallback_agent": "", "enabled": "on",
        },
    )  # fmt: skip
    browser.post(
        page("endpoint", "add"),
        {
            "name": "warm", "method": "GET", "url": "https://example.com/", "headers": "{}",
            "parameters_schema": "", "side_effect": "read", "timeout_ms": "500", "retry": "",
            "description": "", "enabled": "on",
        },
    )  # fmt: skip

    made = Agent.objects.get(name="warmer")
    assert (made.provider, made.model, made.temperature) == (asked, "small", 0.3)
    assert (made.capabilities, made.max_concurrent) == (["caches"], 2)
    called = Endpoint.objects.get(name="warm")
    assert (called.timeout_ms, called.critical, called.enabled) == (500, False, True)
    refused = browser.post(page("provider", "delete", asked.id), {"post": "yes"}, follow=True)
    assert Provider.objects.filter(id=asked.id).exists()
    assert "warmer" in refused.content.decode()


def test_the_form_of_a_provider_offers_no_keys_of_others(browser: Client, root: User) -> None:
    credential(person(), name="somebodys")
    credential(root, name="mine")
    credential(name="shared")

    shown = browser.get(page("provider", "add")).content.decode()

    assert "somebodys" not in shown
    assert "mine" in shown
    assert "shared" in shown


def test_refused_words_are_shown_at_their_fields(browser: Client) -> None:
    shown = browser.post(
        page("endpoint", "add"),
        {"name": "two words", "method": "GET", "url": "ftp://x", "timeout_ms": "0"},
    ).content.decode()

    assert "must begin with http:// or https://" in shown
    assert "greater than or equal to 1" in shown
    assert not Endpoint.objects.exists()


def test_staff_see_and_change_what_is_theirs_and_what_is_everybodys() -> None:
    other = person()
    theirs, shared = credential(other, name="theirs"), credential(name="shared")
    called = endpoint(other, name="theirs")
    browser = staff("credential", "endpoint")

    listed = browser.get(page("credential")).content.decode()

    assert str(shared.id) in listed
    assert str(theirs.id) not in listed
    for model, row in (("credential", theirs), ("endpoint", called)):
        browser.post(page(model, "change", row.id), {"name": "mine"})
        browser.post(page(model, "delete", row.id), {"post": "yes"})
    assert Credential.objects.get(id=theirs.id).name == "theirs"
    assert Endpoint.objects.get(id=called.id).name == "theirs"


def test_every_table_has_its_list_and_its_page(browser: Client, root: User) -> None:
    made = agent()
    cycle = working(made, owner=root)
    call = ModelCall.objects.create(
        id=ids.new(clock.now()), provider="local", model="small", phase="plan", status="ok",
        owner_id=root.pk,
    )  # fmt: skip
    memory = Memory.objects.create(agent=made, owner_id=root.pk, kind="fact", text="it is cold")
    rows = {
        "agent": made, "provider": made.provider, "cycle": cycle, "modelcall": call,
        "memory": memory, "credential": credential(root), "endpoint": endpoint(root),
    }  # fmt: skip

    for model, row in rows.items():
        assert browser.get(page(model)).status_code == 200
        assert browser.get(f"{page(model)}?q=a").status_code == 200
        assert browser.get(page(model, "change", row.pk)).status_code == 200
    assert browser.get(page("reservation")).status_code == 200
    for model in ("cycle", "modelcall"):
        assert browser.get(page(model, "add")).status_code == 403
        assert browser.post(page(model, "delete", rows[model].pk)).status_code == 403


def test_records_are_filtered_and_the_token_of_a_cycle_is_not_shown(
    browser: Client, root: User
) -> None:
    cycle = working(agent(), owner=root, stage="plan")

    assert str(cycle.execution_id) in browser.get(f"{page('cycle')}?stage=plan").content.decode()
    other = browser.get(f"{page('cycle')}?stage=done").content.decode()
    assert str(cycle.execution_id) not in other
    shown = browser.get(page("cycle", "change", cycle.id)).content.decode()
    assert str(Cycle.objects.get().token) not in shown
