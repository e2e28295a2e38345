"""What the views of everything a cycle may use share: words in, refusals out."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.objects.drafts import InUse, Invalid, Unknown
from executions_app import encryption, permissions
from executions_app.api import problem
from executions_app.api.base import ApiView
from executions_app.api.problem import Problem

Row = TypeVar("Row", bound=Model)


def gone(error: Exception) -> Problem:
    return Problem(404, "not_found", str(error))


def in_use(error: Exception) -> Problem:
    return Problem(409, "in_use", str(error))


def no_keys(error: Exception) -> Problem:
    return Problem(409, "no_keys", str(error))


MEANINGS: problem.Meanings = {
    Invalid: problem.misfitting,
    Unknown: gone,
    InUse: in_use,
    encryption.NoKeys: no_keys,
    encryption.Undecryptable: no_keys,
    permissions.OperatorNeeded: problem.operator_needed,
}


class ObjectView(ApiView[Row], Generic[Row]):
    """One of the four; `computed` are the names that nobody sets."""

    ordering_fields: tuple[str, ...] = ("created_at", "name")
    meanings = MEANINGS
    computed: frozenset[str] = frozenset()

    def words(self) -> dict[str, Any]:
        """What the caller says, without what only the system does."""
        return {name: value for name, value in self.body.items() if name not in self.computed}

    def listed(self, _request: Request) -> Response:
        """A page of the rows that the caller may see."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @property
    def is_described(self) -> bool:
        """True while the API's document is made, when nobody asks."""
        return bool(getattr(self, "swagger_fake_view", False))


class OperatorsView(ObjectView[Row], Generic[Row]):
    """Only operators see and change these; `act` is what they want, as in "see providers"."""

    act: str

    def get_queryset(self) -> QuerySet[Row]:
        if not self.is_described:
            permissions.check_operator(self.user, self.act)
        return self.rows.all()
