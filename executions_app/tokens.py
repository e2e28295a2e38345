"""Personal tokens: how a machine proves, before it may touch an execution, whose work it does.

A token is 256 random bits, so its plain SHA-256 is enough of a hash: there is nothing to guess.
It is shown once, when it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Q

from executions_app import audit, ids
from executions_app.audit import Actor
from executions_app.models import ApiToken

PREFIX: Final = "cdz_"
SHOWN_CHARACTERS: Final = len(PREFIX) + 6
LONGEST: Final = 200
USE_NOTED_EVERY: Final = timedelta(minutes=1)


def create(
    user: AbstractBaseUser,
    *,
    name: str,
    now: datetime,
    expires_at: datetime | None = None,
    actor: Actor | None = None,
) -> tuple[ApiToken, str]:
    """Make a token of `user`; answers its row and the token itself, which cannot be read again.

    Raises ValueError if it would have expired already. `actor` is `user` unless given.
    """
    if expires_at is not None and expires_at <= now:
        raise ValueError(f"A token that expires at {expires_at.isoformat()} is of no use")
    plain = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            id=ids.new(now),
            user_id=user.pk,
            name=name,
            prefix=plain[:SHOWN_CHARACTERS],
            token_hash=_hash(plain),
            expires_at=expires_at,
            created_at=now,
            updated_at=now,
        )
        _audit(actor or Actor.of(user), "token.created", token, now=now)
    return token, plain


def verify(plain: str, *, now: datetime) -> ApiToken | None:
    """The usable token that was presented, with its user; None for any other text.

    Notes its use, at most once a minute.
    """
    if not plain.startswith(PREFIX) or len(plain) > LONGEST:
        return None
    hashed = _hash(plain)
    token = ApiToken.objects.select_related("user").filter(token_hash=hashed).first()
    if token is None or not hmac.compare_digest(token.token_hash, hashed):
        return None
    if not _is_usable(token, now):
        return None
    _note_use(token, now)
    return token


def revoke(token: ApiToken, *, actor: Actor, now: datetime) -> bool:
    """Make a token unusable for good; False if it was revoked before."""
    with transaction.atomic():
        is_valid = ApiToken.objects.filter(id=token.id, revoked_at__isnull=True)
        if not is_valid.update(revoked_at=now, updated_at=now):
            return False
        _audit(actor, "token.revoked", token, now=now)
    token.refresh_from_db()
    return True


def _is_usable(token: ApiToken, now: datetime) -> bool:
    is_expired = token.expires_at is not None and token.expires_at <= now
    return token.revoked_at is None and not is_expired and token.user.is_active


def _note_use(token: ApiToken, now: datetime) -> None:
    lately = now - USE_NOTED_EVERY
    if token.last_used_at is not None and token.last_used_at > lately:
        return
    is_stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=lately)
    ApiToken.objects.filter(is_stale, id=token.id).update(last_used_at=now)


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def _audit(actor: Actor, action: str, token: ApiToken, *, now: datetime) -> None:
    after = {"user_id": token.user_id, "name": token.name, "prefix": token.prefix}
    audit.record(actor, action, object_type="token", object_id=token.id, now=now, after=after)
