"""Who may start an execution by a webhook: whoever has signed with the secret of its schedule.

Two ways, both over HMAC-SHA256: Standard Webhooks, which signs the body, and a JWT, which does not
and therefore says how long it is good for. Nothing of the body is read before this is settled.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from jwt.types import Options
from standardwebhooks import Webhook

from executions_app.states import SchedulerException

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
LONGEST_ID: Final = 255
LONGEST_SIGNATURES: Final = 2_000
LONGEST_TOKEN: Final = 8_192
SKEW: Final = timedelta(minutes=5)  # what Standard Webhooks admits, both ways
LONGEST_VALIDITY: Final = timedelta(hours=24)
_NOT_BY_THIS_HOST: Final[Options] = {
    "require": ["iat", "exp"],
    "verify_aud": False,
    "verify_iat": False,
    "verify_exp": False,
    "verify_nbf": False,
}
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_NONSENSE: Final = (ValueError, TypeError, OverflowError, RecursionError)


class Unproven(SchedulerException):
    """Nothing shows that the sender has the secret; why not is nobody's business."""

    def __init__(self) -> None:
        super().__init__("The request is not signed with the secret of a webhook")


def verify(
    headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], now: datetime
) -> str | None:
    """The id of a delivery that is signed with one of the secrets, None if it has no id.

    Names of headers are in lower case. Raises Unproven.
    """
    for secret in secrets:
        try:
            if headers.get("authorization"):
                return _by_token(headers, secret, now)
            return _by_signature(headers, body, secret, now)
        except Unproven:
            continue
    raise Unproven


def _by_signature(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> str:
    """Standard Webhooks: `v1` signatures of id, timestamp and body, several for several secrets."""
    delivery_id = headers.get(ID, "")
    signatures = headers.get(SIGNATURE, "")
    is_plain = _SECONDS.fullmatch(headers.get(TIMESTAMP, "")) and _is_an_id(delivery_id)
    if not is_plain or len(signatures) > LONGEST_SIGNATURES:
        raise Unproven
    try:
        signed_at = datetime.fromtimestamp(int(headers[TIMESTAMP]), UTC)
        # The library verifies by the clock of this host; here another one rules.
        right = Webhook(secret).sign(delivery_id, signed_at, body.decode()).encode()
    except _NONSENSE:
        raise Unproven from None
    is_right = any(hmac.compare_digest(one.encode(), right) for one in signatures.split())
    if not is_right or abs(now - signed_at) > SKEW:
        raise Unproven
    return delivery_id


def _by_token(headers: Mapping[str, str], secret: str, now: datetime) -> str | None:
    """A bearer token (RFC 7519, HS256) with `iat` and `exp`; its `jti` is the delivery's id.

    The key is the text of the secret, its prefix included.
    """
    kind, _, token = headers["authorization"].partition(" ")
    if kind.lower() != "bearer" or len(token) > LONGEST_TOKEN:
        raise Unproven
    try:
        # Whom it is for is told by the secret; when it is good, by the clock that rules here.
        claims: dict[str, Any] = jwt.decode(
            token.strip(),
            secret,
            algorithms=["HS256"],
            options=_NOT_BY_THIS_HOST,
        )
        is_timely = _is_timely(claims, now)
    except (jwt.PyJWTError, *_NONSENSE):
        raise Unproven from None
    if not is_timely:
        raise Unproven
    named = claims.get("jti") or headers.get(ID)
    if named is None:
        return None
    if not _is_an_id(named):
        raise Unproven
    return str(named)


def _is_timely(claims: Mapping[str, Any], now: datetime) -> bool:
    """Issued by now, the sender's clock being what it is, and not good for ever."""
    issued, ends = float(claims["iat"]), float(claims["exp"])
    is_issued = issued <= (now + SKEW).timestamp()
    is_valid = float(claims.get("nbf", 0)) <= now.timestamp() < ends
    return is_issued and is_valid and ends <= issued + LONGEST_VALIDITY.total_seconds()


def _is_an_id(text: object) -> bool:
    if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_ID:
        return False
    return text.isascii() and text.isprintable()
