"""The first administrator of a new installation."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.db import transaction

from executions_app import audit, clock


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """`password` is set only when it was generated just now: show it once, it is not stored."""

    username: str
    password: str | None
    is_new: bool


def ensure_first_admin(username: str, password: str) -> FirstAdmin:
    """Create the first superuser unless there is one already; an empty password is generated."""
    users = get_user_model()
    with transaction.atomic():
        existing = users.objects.filter(is_superuser=True).order_by("pk").first()
        if existing is not None:
            return FirstAdmin(existing.get_username(), None, is_new=False)
        chosen = password or secrets.token_urlsafe(12)
        user = users.objects.create_superuser(username=username, email="", password=chosen)
        audit.record(
            audit.SYSTEM,
            "user.created",
            object_type="user",
            object_id=user.pk,
            now=clock.now(),
            after={"username": username, "is_superuser": True},
        )
    return FirstAdmin(username, None if password else chosen, is_new=True)
