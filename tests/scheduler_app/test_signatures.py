"""Who is believed: Standard Webhooks and JWTs, and everything that comes close to them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from standardwebhooks import Webhook

from scheduler_app.sources import signatures
from scheduler_app.sources.signatures import Unproven

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()
BODY = b'{"a": 1}'
MINUTE = timedelta(minutes=1)


def signed(
    body: bytes = BODY, *, secret: str = SECRET, at: datetime = NOW, **changes: str
) -> dict[str, str]:
    signature = Webhook(secret).sign("evt-1", at, body.decode())
    headers = {
        "webhook-id": "evt-1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }
    return {**headers, **{name.replace("_", "-"): value for name, value in changes.items()}}


def bearer(*, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> dict[str, str]:
    standard = {"iat": NOW, "exp": NOW + MINUTE, "jti": "evt-1"}
    said = {name: value for name, value in {**standard, **claims}.items() if value is not None}
    return {"authorization": f"Bearer {jwt.encode(said, secret, algorithm=algorithm)}"}


def verify(headers: dict[str, str], body: bytes = BODY) -> str | None:
    return signatures.verify(headers, body, secrets=[SECRET], now=NOW)


def test_a_signature_of_the_body_is_believed() -> None:
    assert verify(signed()) == "evt-1"


@pytest.mark.parametrize("at", [NOW - 4 * MINUTE, NOW + 4 * MINUTE])
def test_clocks_may_disagree_by_less_than_five_minutes(at: datetime) -> None:
    assert verify(signed(at=at)) == "evt-1"


def test_one_of_several_signatures_is_enough() -> None:
    right = signed()["webhook-signature"]
    wrong = signed(secret=OTHER)["webhook-signature"]

    assert verify(signed(webhook_signature=f"v1a,xyz {wrong} nonsense v1,! {right}")) == "evt-1"


def test_one_of_several_secrets_is_enough() -> None:
    headers = signed(secret=OTHER)

    assert signatures.verify(headers, BODY, secrets=[SECRET, OTHER], now=NOW) == "evt-1"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(secret=OTHER),
        signed(b'{"a": 2}'),
        signed(at=NOW - 6 * MINUTE),
        signed(at=NOW + 6 * MINUTE),
        signed(webhook_id="evt-2"),
        signed(webhook_id=""),
        signed(webhook_id="x" * 256),
        signed(webhook_id="evt\n1"),
        signed(webhook_timestamp=str(int(NOW.timestamp()) - 1)),
        signed(webhook_timestamp=""),
        signed(webhook_timestamp="nan"),
        signed(webhook_timestamp="1e9"),
        signed(webhook_timestamp="9" * 400),
        signed(webhook_timestamp=f"{int(NOW.timestamp())}.5"),
        signed(webhook_signature=""),
        signed(webhook_signature="v1"),
        signed(webhook_signature="v1,"),
        signed(webhook_signature="v1,====,="),
        signed(webhook_signature=signed()["webhook-signature"].replace("v1,", "v1a,")),
        signed(webhook_signature=signed()["webhook-signature"] + ",v1"),
        signed(webhook_signature=f"{signed(secret=OTHER)['webhook-signature']} " * 100),
    ],
)
def test_what_is_not_signed_so_is_not_believed(headers: dict[str, str]) -> None:
    with pytest.raises(Unproven):
        verify(headers)


def test_a_body_that_is_no_text_is_not_believed() -> None:
    with pytest.raises(Unproven):
        verify(signed(), b"\xff\xfe")


def test_a_token_is_believed_and_its_jti_is_the_delivery() -> None:
    assert verify(bearer(jti="evt-7")) == "evt-7"


def test_a_token_without_jti_names_its_delivery_in_a_header_or_not_at_all() -> None:
    assert verify(bearer(jti=None)) is None
    assert verify({**bearer(jti=None), "webhook-id": "evt-8"}) == "evt-8"


def test_a_token_of_a_sender_whose_clock_is_ahead_is_believed() -> None:
    assert verify(bearer(iat=NOW + 4 * MINUTE, exp=NOW + 5 * MINUTE)) == "evt-1"


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> dict[str, str]:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return {"authorization": f"Bearer {part(header)}.{part(claims)}."}


LATER = {"iat": NOW.timestamp(), "exp": NOW.timestamp() + 60}
DEEP_HEADER = base64.urlsafe_b64encode(b"[" * 6_000).decode().rstrip("=")


@pytest.mark.parametrize(
    "headers",
    [
        bearer(secret=OTHER),
        bearer(algorithm="HS384"),
        unsigned({"alg": "none"}, LATER),
        unsigned({"alg": "HS256"}, LATER),
        bearer(iat=None),
        bearer(exp=None),
        bearer(iat=NOW - 2 * MINUTE, exp=NOW - MINUTE),
        bearer(iat=NOW + 6 * MINUTE, exp=NOW + 7 * MINUTE),
        bearer(exp=NOW + timedelta(hours=25)),
        bearer(nbf=NOW + 2 * MINUTE),
        bearer(iat="now"),
        bearer(exp="later"),
        bearer(exp=float("inf")),
        bearer(exp=float("nan")),
        bearer(iat=float("nan")),
        bearer(jti="x" * 256),
        bearer(jti="a\nb"),
        {"authorization": "Bearer"},
        {"authorization": "Bearer x.y.z"},
        {"authorization": f"Bearer {DEEP_HEADER}.e30.e30"},
        {"authorization": "Bearer " + "x" * 10_000},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer \N{SNOWMAN}.\N{SNOWMAN}.\N{SNOWMAN}"},
        {**signed(), "authorization": "Bearer cdz_something"},
    ],
)  # fmt: skip
def test_a_token_that_is_not_quite_right_is_not_believed(headers: dict[str, str]) -> None:
    with pytest.raises(Unproven):
        verify(headers)


def test_nobody_is_believed_where_there_is_no_secret() -> None:
    with pytest.raises(Unproven):
        signatures.verify(signed(), BODY, secrets=[], now=NOW)
