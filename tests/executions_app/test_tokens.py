"""Personal tokens: made once, hashed, expiring, revocable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from executions_app import tokens
from executions_app.audit import Actor
from executions_app.models import ApiToken, AuditEntry
from tests.factories import UserFactory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def person(db: None) -> User:
    return UserFactory.create()


def test_a_token_speaks_for_its_user(person: User) -> None:
    token, plain = tokens.create(person, name="ci", now=NOW)

    found = tokens.verify(plain, now=NOW)

    assert found is not None
    assert (found.id, found.user) == (token.id, person)


def test_the_token_itself_is_nowhere_stored(person: User) -> None:
    token, plain = tokens.create(person, name="ci", now=NOW)

    assert plain.startswith(token.prefix)
    assert len(plain) > len(token.prefix) + 30
    assert plain not in str(list(ApiToken.objects.values()) + list(AuditEntry.objects.values()))


@pytest.mark.parametrize("other", ["", "cdz_", "cdz_x", "Basic abc", "cdz_\ud800", "cdz_" * 100])
def test_another_text_speaks_for_nobody(person: User, other: str) -> None:
    tokens.create(person, name="ci", now=NOW)

    assert tokens.verify(other, now=NOW) is None


def test_a_token_ends_at_its_expiry(person: User) -> None:
    _, plain = tokens.create(person, name="ci", now=NOW, expires_at=NOW + SECOND)

    assert tokens.verify(plain, now=NOW) is not None
    assert tokens.verify(plain, now=NOW + SECOND) is None


def test_a_token_that_has_expired_already_is_not_made(person: User) -> None:
    with pytest.raises(ValueError, match="of no use"):
        tokens.create(person, name="ci", now=NOW, expires_at=NOW)


def test_a_revoked_token_speaks_for_nobody(person: User) -> None:
    token, plain = tokens.create(person, name="ci", now=NOW)

    first = tokens.revoke(token, actor=Actor.of(person), now=NOW)
    second = tokens.revoke(token, actor=Actor.of(person), now=NOW)

    assert (first, second) == (True, False)
    assert tokens.verify(plain, now=NOW) is None
    assert AuditEntry.objects.filter(action="token.revoked").count() == 1


def test_the_token_of_a_dismissed_user_speaks_for_nobody(person: User) -> None:
    _, plain = tokens.create(person, name="ci", now=NOW)
    User.objects.filter(pk=person.pk).update(is_active=False)

    assert tokens.verify(plain, now=NOW) is None


def test_its_use_is_noted_at_most_once_a_minute(person: User) -> None:
    token, plain = tokens.create(person, name="ci", now=NOW)

    noted = []
    for seconds in (0, 59, 60, 61):
        tokens.verify(plain, now=NOW + seconds * SECOND)
        token.refresh_from_db()
        noted.append(token.last_used_at)

    assert noted == [NOW, NOW, NOW + 60 * SECOND, NOW + 60 * SECOND]
