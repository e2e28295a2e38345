"""Secrets of cycles: they go in, they never come out, and they stay while something uses them."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.test import override_settings

from agents_app.models import Credential
from agents_app.objects import credentials
from agents_app.objects.drafts import InUse, Invalid, Unknown
from executions_app import clock, encryption
from executions_app.audit import SYSTEM
from tests.agents_app.objects import (
    SECRET,
    audited,
    credential,
    endpoint,
    everything_audited,
    person,
    provider,
)
from tests.terminal import run

pytestmark = pytest.mark.django_db


def named(error: Invalid) -> dict[str, str]:
    return {".".join(one.path): one.code for one in error.problems}


def test_a_value_is_kept_encrypted_and_only_the_call_gets_it() -> None:
    made = credential()

    row = Credential.objects.get(id=made.id)
    assert SECRET not in row.value
    assert credentials.secret_of(row) == SECRET


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": "header"}, "needs a parameter"),
        ({"kind": "query"}, "needs a parameter"),
        ({"kind": "bearer", "parameter": "X-Key"}, "no parameter"),
        ({"kind": "header", "parameter": "Host"}, "set by Cadenza itself"),
        ({"kind": "header", "parameter": "X Key"}, "does not allow"),
        ({"kind": "query", "parameter": "a&b"}, "no plain name"),
        ({"kind": "basic", "value": "only-a-password"}, "user:password"),
        ({"value": "two\r\nlines"}, "printable"),
        ({"value": " spaces "}, "spaces around"),
        ({"value": "\x00"}, "printable"),
        ({"value": ""}, "at least 1"),
        ({"value": "a" * 9_000}, "at most"),
        ({"kind": "oauth"}, "bearer"),
        ({"name": "two words"}, "match"),
        ({"nmae": "x"}, "not permitted"),
    ],
)
def test_what_no_call_could_carry_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        credential(**words)

    assert not Credential.objects.exists()


def test_every_problem_is_named_at_once_and_no_value_repeated() -> None:
    with pytest.raises(Invalid) as refused:
        credential(name="-", kind="oauth", value="", other="x")

    assert named(refused.value) == {
        "name": "invalid",
        "kind": "invalid",
        "value": "invalid",
        "other": "unknown_field",
    }
    with pytest.raises(Invalid) as secret_refused:
        credential(kind="basic", value="s3cr3t-without-colon")
    assert "s3cr3t" not in str(secret_refused.value)


def test_a_credential_needs_a_value_once() -> None:
    with pytest.raises(Invalid) as refused:
        credentials.create({"name": "a"}, owner_id=None, actor=SYSTEM)

    assert named(refused.value) == {"value": "required"}


def test_only_a_new_value_rotates_it() -> None:
    made, before = credential(), clock.now() - timedelta(days=1)
    Credential.objects.update(rotated_at=before)

    renamed = credentials.change(made.id, {"name": "other"}, actor=SYSTEM)
    assert (renamed.rotated_at, credentials.secret_of(renamed)) == (before, SECRET)
    rotated = credentials.change(made.id, {"value": "another-s3cr3t"}, actor=SYSTEM)

    assert rotated.rotated_at > before
    assert credentials.secret_of(rotated) == "another-s3cr3t"


def test_a_value_that_stays_must_fit_its_new_kind() -> None:
    made = credential()

    with pytest.raises(Invalid, match="user:password") as refused:
        credentials.change(made.id, {"kind": "basic"}, actor=SYSTEM)

    assert SECRET not in str(refused.value)
    assert Credential.objects.get(id=made.id).kind == "bearer"


def test_neither_audit_nor_log_nor_refusal_hold_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        made = credential()
        credentials.change(made.id, {"value": "another-s3cr3t"}, actor=SYSTEM)
        credentials.remove(made.id, actor=SYSTEM)

    told = audited(made.id)
    assert set(told) == {"credential.created", "credential.updated", "credential.deleted"}
    assert told["credential.updated"].note == "the value was replaced"
    assert "s3cr3t" not in everything_audited()
    assert "s3cr3t" not in "\n".join(
        one.getMessage() for one in caplog.records if not one.name.startswith("django.db")
    )
    assert SECRET not in repr(credentials.CredentialDraft(name="a", value=SECRET))


def test_names_are_an_owners_own_and_a_shared_one_stands_alone() -> None:
    ada, bob = person(), person()
    mine = credential(ada, name="key")
    theirs = credential(bob, name="key")

    assert mine.id != theirs.id
    with pytest.raises(Invalid, match="another one has this name"):
        credential(ada, name="key")
    shared = credential(name="shared-key")
    with pytest.raises(Invalid, match="another one has this name"):
        credential(name="shared-key")
    with pytest.raises(Invalid, match="a shared credential has this name"):
        credential(ada, name="shared-key")
    assert credentials.named("key", owner_id=ada.pk) == mine
    assert credentials.named("shared-key", owner_id=ada.pk) == shared
    assert credentials.named("key", owner_id=person().pk) is None


def test_an_own_credential_comes_before_a_shared_one() -> None:
    ada = person()
    mine = credential(ada, name="key")
    credential(name="key")

    assert credentials.named("key", owner_id=ada.pk) == mine


def test_one_that_is_used_is_neither_removed_nor_turned_into_another() -> None:
    ada = person()
    made = credential(ada, name="key", kind="header", parameter="X-Key")
    endpoint(ada, name="warm-eu", headers={"X-Key": {"credential": "key"}})
    key = credential(name="openai")
    asked = provider(name="local", credential="openai")

    with pytest.raises(InUse, match="'warm-eu'"):
        credentials.remove(made.id, actor=SYSTEM)
    for words in ({"name": "other"}, {"parameter": "X-Other"}):
        with pytest.raises(InUse, match="'warm-eu'"):
            credentials.change(made.id, words, actor=SYSTEM)
    with pytest.raises(InUse, match="Providers use it: 'local'"):
        credentials.remove(key.id, actor=SYSTEM)
    with pytest.raises(InUse, match="'local'"):
        credentials.change(key.id, {"kind": "header", "parameter": "X-Key"}, actor=SYSTEM)
    rotated = credentials.change(made.id, {"value": "n3w-value"}, actor=SYSTEM)
    assert credentials.secret_of(rotated) == "n3w-value"
    assert asked.credential == key


def test_a_shared_one_is_used_by_those_who_have_none_of_its_name() -> None:
    ada, bob = person(), person()
    credential(bob, name="key")
    endpoint(bob, name="bobs", headers={"Authorization": {"credential": "key"}})
    shared = credential(name="key")

    credentials.remove(shared.id, actor=SYSTEM)
    again = credential(name="key")
    endpoint(ada, name="adas", headers={"Authorization": {"credential": "key"}})

    with pytest.raises(InUse, match="'adas'") as refused:
        credentials.remove(again.id, actor=SYSTEM)
    assert "bobs" not in str(refused.value)


def test_one_that_is_gone_is_unknown() -> None:
    made = credential()
    credentials.remove(made.id, actor=SYSTEM)

    for act in (
        lambda: credentials.remove(made.id, actor=SYSTEM),
        lambda: credentials.change(made.id, {"name": "x"}, actor=SYSTEM),
    ):
        with pytest.raises(Unknown, match="credential"):
            act()


def test_rotate_keys_encrypts_credentials_by_the_first_key() -> None:
    made = credential()
    old, new = list(settings.FIELD_ENCRYPTION_KEYS), Fernet.generate_key().decode()

    with override_settings(FIELD_ENCRYPTION_KEYS=[new, *old]):
        ended = run("rotate_keys", "--json")
    assert ended.exit_code == 0
    assert ended.document["renewed"] >= 1

    row = Credential.objects.get(id=made.id)
    with override_settings(FIELD_ENCRYPTION_KEYS=[new]):
        assert credentials.secret_of(row) == SECRET
    with pytest.raises(encryption.Undecryptable):
        credentials.secret_of(row)


def test_without_keys_no_secret_is_kept() -> None:
    with override_settings(FIELD_ENCRYPTION_KEYS=[]), pytest.raises(encryption.NoKeys):
        credential()

    assert not Credential.objects.exists()
