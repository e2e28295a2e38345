"""Providers of models: what is said of them, who stands in for whom, and who needs them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents_app.models import Provider
from agents_app.objects import providers
from agents_app.objects.drafts import InUse, Invalid, Unknown
from agents_app.objects.providers import ModelPrice
from executions_app import clock
from executions_app.audit import SYSTEM, Actor
from tests.agents_app.objects import (
    SECRET,
    agent,
    audited,
    credential,
    endpoint,
    everything_audited,
    operator,
    person,
    provider,
)

pytestmark = pytest.mark.django_db


def test_a_provider_is_stored_as_it_was_said() -> None:
    credential(name="key", hosts=["ollama.internal"])
    made = provider(
        name="local",
        base_url="http://ollama.internal:11434/v1/",
        credential="key",
        models=[{"name": "llama3.3", "usd_per_1m_input": 0.15, "context_tokens": 128_000}],
    )

    row = Provider.objects.get(id=made.id)
    assert (row.base_url, row.credential and row.credential.name) == (
        "http://ollama.internal:11434/v1",
        "key",
    )
    assert row.models == [
        {
            "name": "llama3.3",
            "usd_per_1m_input": "0.15",
            "usd_per_1m_output": "0",
            "context_tokens": 128_000,
        }
    ]
    assert providers.connection(row) == providers.Connection(row.base_url, SECRET)
    assert SECRET not in repr(providers.connection(row))
    assert "s3cr3t" not in everything_audited()
    assert set(audited(made.id)) == {"provider.created"}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "example.com/v1",
        "http://",
        "http://user:word@example.com/v1",
        "https://example.com/v1?key=a",
        "https://example.com/v1#a",
        "https://exa mple.com",
        "file:///etc/passwd",
        "https://example.com:0/",
        "http://[::1",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        provider(base_url=url)

    assert [one.path for one in refused.value.problems] == [("base_url",)]
    assert "word" not in str(refused.value)


@pytest.mark.parametrize(
    ("models", "path"),
    [
        ([{"name": "a", "usd_per_1m_input": -1}], ("models", "0", "usd_per_1m_input")),
        ([{"name": "a", "usd_per_1m_input": "NaN"}], ("models", "0", "usd_per_1m_input")),
        ([{"name": "a", "usd_per_1m_input": "1e9"}], ("models", "0", "usd_per_1m_input")),
        ([{"name": "a", "context_tokens": 0}], ("models", "0", "context_tokens")),
        ([{"name": ""}], ("models", "0", "name")),
        ([{"name": "a"}, {"name": "a"}], ("models",)),
        ([{"name": "a", "price": 1}], ("models", "0", "price")),
        ([{"name": f"m-{one}"} for one in range(201)], ("models",)),
        ({"name": "a"}, ("models",)),
    ],
)
def test_a_price_table_that_is_none_is_refused(models: Any, path: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as refused:
        provider(models=models)

    assert path in [one.path for one in refused.value.problems]


def test_prices_may_be_written_in_camel_case() -> None:
    price = ModelPrice.model_validate(
        {"name": "a", "usdPer1mInput": "0.5", "usdPer1mOutput": 2, "contextTokens": 8}
    )

    assert (price.usd_per_1m_input, price.usd_per_1m_output) == (Decimal("0.5"), Decimal(2))
    assert price.context_tokens == 8


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        provider(credential="nobody", fallback_provider="nothing")
    assert {one.path for one in refused.value.problems} == {
        ("credential",),
        ("fallback_provider",),
    }

    with pytest.raises(Invalid) as also_refused:
        provider(base_url="x", models=[{"name": ""}], enabled="perhaps")
    assert len(also_refused.value.problems) == 3


def test_nobody_stands_in_for_themselves_however_far_around() -> None:
    first = provider(name="first")
    second = provider(name="second", fallback_provider="first")
    third = provider(name="third", fallback_provider=str(second.id))

    with pytest.raises(Invalid, match="first -> third -> second -> first"):
        providers.change(first.id, {"fallback_provider": "third"}, actor=SYSTEM)
    with pytest.raises(Invalid, match="first -> first"):
        providers.change(first.id, {"fallback_provider": "first"}, actor=SYSTEM)
    freed = providers.change(third.id, {"fallback_provider": None}, actor=SYSTEM)
    assert freed.fallback_provider is None
    changed = providers.change(first.id, {"fallback_provider": "third"}, actor=SYSTEM)
    assert changed.fallback_provider == third


def test_one_that_is_used_is_not_removed_and_says_by_whom() -> None:
    first = provider(name="first")
    agent(name="warmer", provider="first")
    provider(name="second", fallback_provider="first")

    with pytest.raises(InUse, match=r"Agents use it: 'warmer'.*stands in for providers: 'second'"):
        providers.remove(first.id, actor=SYSTEM)

    alone = provider()
    providers.remove(alone.id, actor=SYSTEM)
    with pytest.raises(Unknown):
        providers.remove(alone.id, actor=SYSTEM)


def test_another_address_is_tried_anew() -> None:
    row = provider(name="local")
    Provider.objects.filter(id=row.id).update(
        mode="text",
        probed_at=clock.now(),
        failures_in_row=5,
        unhealthy_until=clock.now() + timedelta(minutes=9),
    )

    providers.change(row.id, {"models": [{"name": "a"}]}, actor=SYSTEM)
    row.refresh_from_db()
    assert (row.mode, row.failures_in_row) == ("text", 5)
    providers.change(row.id, {"base_url": "http://127.0.0.1:2/v1"}, actor=SYSTEM)

    row.refresh_from_db()
    assert (row.mode, row.probed_at, row.failures_in_row, row.unhealthy_until) == (
        "", None, 0, None,
    )  # fmt: skip


def test_a_change_leaves_alone_what_others_note_meanwhile() -> None:
    row = provider(name="local")
    Provider.objects.filter(id=row.id).update(last_error="down", failures_in_row=2)

    providers.change(row.id, {"models": [{"name": "a"}]}, actor=SYSTEM)

    row.refresh_from_db()
    assert (row.last_error, row.failures_in_row) == ("down", 2)


def test_the_key_of_a_provider_opens_no_endpoint_of_others() -> None:
    ada = person()
    credential(name="shared")
    endpoint(ada, name="adas", headers={"Authorization": {"credential": "shared"}})

    with pytest.raises(Invalid, match="'adas'"):
        provider(credential="shared")

    credential(name="openai")
    provider(credential="openai")
    with pytest.raises(Invalid, match="key of a provider"):
        endpoint(ada, headers={"Authorization": {"credential": "openai"}})


def test_a_provider_takes_a_credential_of_everybody_or_of_who_sets_it() -> None:
    boss, ada = operator(), person()
    credential(ada, name="adas")
    credential(boss, name="boss")

    made = provider(actor=Actor.of(boss), credential="boss")
    with pytest.raises(Invalid, match="there is no credential 'adas'"):
        provider(actor=Actor.of(boss), credential="adas")
    with pytest.raises(Invalid, match="kind bearer"):
        provider(credential=credential(kind="header", parameter="X-Key").name)

    other = operator()
    kept = providers.change(made.id, {"name": "renamed"}, actor=Actor.of(other))
    assert kept.credential == made.credential
