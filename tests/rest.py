"""A caller of the API as machines are: with a personal token."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from executions_app import tokens


def signed_in(user: User) -> APIClient:
    """A client that presents a token of `user`."""
    _, plain = tokens.create(user, name="tests", now=timezone.now())
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {plain}")
    return client


def ids_of(page: dict[str, Any]) -> list[str]:
    """The ids of a page's rows."""
    return [row["id"] for row in page["results"]]
