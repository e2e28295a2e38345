"""Registered endpoints and their secrets for tests, and calls of them as a step makes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from agents_app import calling
from agents_app.clients import http
from agents_app.models import Credential, Endpoint
from executions_app import encryption
from tests.factories import UserFactory

STEP = UUID("0195f2c4-8f00-7a0b-8d11-5a6b7c8d9e0f")


def registered(url: str, **words: Any) -> Endpoint:
    """A stored endpoint, of an owner of its own unless one is given."""
    owner = words.pop("owner", None) or UserFactory.create()
    given = {"name": "warm-eu", "url": url, "retry": {"base_ms": 1, "jitter": "none"}, **words}
    return Endpoint.objects.create(owner=owner, **given)


def secret(owner: Any, name: str, value: str, **words: Any) -> Credential:
    """A stored credential; `owner` None: shared."""
    return Credential.objects.create(
        owner=owner, name=name, value=encryption.encrypt(value), **words
    )


def make(
    endpoint: Endpoint | dict[str, Any],
    door: http.Door,
    *,
    seconds: float = 20.0,
    check: Callable[[], None] = lambda: None,
    step_id: UUID | None = None,
    **parameters: Any,
) -> calling.Called:
    """The call that a step makes of this endpoint."""
    snapshot = endpoint if isinstance(endpoint, dict) else calling.snapshot_of(endpoint)
    return calling.call(
        calling.Call(
            endpoint=snapshot,
            parameters=parameters,
            step_id=step_id or uuid4(),
            correlation_id="order-7",
            deadline=time.monotonic() + seconds,
            check=check,
        ),
        door=door,
    )
