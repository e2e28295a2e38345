"""Whose executions these are: the one rule of who sees which rows."""

from __future__ import annotations

from typing import TypeVar

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def visible_to(user: AbstractUser | AnonymousUser, rows: QuerySet[Row]) -> QuerySet[Row]:
    """The rows that `user` may know of: their own, or all for a superuser.

    Rows of nobody (errors of the system itself) are for superusers only.
    """
    return rows if user.is_superuser else rows.filter(owner_id=user.pk)
