"""Secrets at rest: a ring of keys of which the first encrypts and all decrypt."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from executions_app import encryption

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_what_was_encrypted_is_read_again_and_looks_like_nothing(settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]

    stored = encryption.encrypt("a secret")

    assert "secret" not in stored
    assert stored != encryption.encrypt("a secret")
    assert encryption.decrypt(stored) == "a secret"


def test_a_new_key_in_front_reads_what_the_old_one_wrote(settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    stored = encryption.encrypt("a secret")

    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    renewed = encryption.renewed(stored)
    settings.FIELD_ENCRYPTION_KEYS = [NEW]

    assert encryption.decrypt(renewed) == "a secret"
    with pytest.raises(encryption.Undecryptable):
        encryption.decrypt(stored)


@pytest.mark.parametrize("stored", ["", "a secret", "gAAAAA", "\N{SNOWMAN}"])
def test_what_was_never_encrypted_is_not_taken_for_a_secret(
    settings: Settings, stored: str
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]

    with pytest.raises(encryption.Undecryptable):
        encryption.decrypt(stored)


def test_without_keys_nothing_is_kept(settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = []

    with pytest.raises(encryption.NoKeys):
        encryption.encrypt("a secret")
