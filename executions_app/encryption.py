"""How a secret that an execution needs, or that starts one, is kept in the database: encrypted.

The keys are a ring (FIELD_ENCRYPTION_KEYS): the first encrypts, all of them decrypt, so that a new
one can be put in front at any time. Whoever has the database without the keys has no secret.
"""

from __future__ import annotations

from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from executions_app.states import SchedulerException


class Undecryptable(SchedulerException):
    """No key of the ring has encrypted this."""


class NoKeys(SchedulerException):
    """This installation was given no keys."""


def encrypt(secret: str) -> str:
    """The secret as it may be stored; raises NoKeys."""
    return _ring().encrypt(secret.encode()).decode()


def decrypt(stored: str) -> str:
    """What `encrypt` was given; raises Undecryptable, NoKeys."""
    try:
        return _ring().decrypt(stored.encode()).decode()
    except InvalidToken:
        raise Undecryptable(
            "No key in FIELD_ENCRYPTION_KEYS has encrypted this secret; add the key that was in "
            "force then, or make a new secret"
        ) from None


def renewed(stored: str) -> str:
    """The same secret, encrypted by the first key of the ring; raises Undecryptable, NoKeys."""
    return encrypt(decrypt(stored))


def _ring() -> MultiFernet:
    return _ring_of(tuple(settings.FIELD_ENCRYPTION_KEYS))


@cache
def _ring_of(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise NoKeys("Secrets cannot be kept without keys; set FIELD_ENCRYPTION_KEYS")
    return MultiFernet([Fernet(key) for key in keys])
