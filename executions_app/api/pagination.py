"""Pages through executions and all other lists: keyset pages, whose cost is that of one page.

A cursor names the last row seen (value of the ordering, id), so rows that come or go meanwhile
are neither shown twice nor skipped; nulls come last in either direction. Where a filter has no
index, a page is looked for in LOOKED_THROUGH rows and may hold fewer than asked for, even none:
`next` then goes on behind them.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import F, Model, Q, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from executions_app.api import names
from executions_app.api.problem import FieldError, Problem, invalid

USUAL_SIZE: Final = 50
LARGEST_SIZE: Final = 200
COUNTED_UP_TO: Final = 10_000
LOOKED_THROUGH: Final = 5_000
NEWEST_FIRST: Final = "-id"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two rows; the page lies behind it, or before it."""

    value: Any
    id: UUID
    is_backward: bool = False

    def __str__(self) -> str:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        shown = None if value is None else str(value)
        text = json.dumps([shown, str(self.id), int(self.is_backward)], separators=(",", ":"))
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` wrote; raises ValueError."""
        padded = text + "=" * (-len(text) % 4)
        value, id_, is_backward = json.loads(urlsafe_b64decode(padded))
        if not isinstance(value, str | None) or not isinstance(id_, str):
            raise ValueError("not a cursor")  # noqa: TRY004  the caller asks for one kind of error
        return cls(value, UUID(id_), bool(is_backward))


@dataclass(frozen=True, slots=True)
class Ordering:
    """One field and a direction; rows of equal value are ordered by id in the same direction.

    A field that `has_no_nulls` is ordered and bounded as an index of it is.
    """

    field: str
    is_descending: bool
    has_no_nulls: bool = False

    @classmethod
    def parse(cls, text: str) -> Ordering:
        return cls(text.removeprefix("-"), text.startswith("-"))

    def sort(self, rows: QuerySet[Model], *, reverse: bool) -> QuerySet[Model]:
        by, then = F(self.field), F("id")
        if self.field == "id":
            return rows.order_by(then.desc() if self.is_descending is not reverse else then.asc())
        if self.has_no_nulls:
            is_down = self.is_descending is not reverse
            return rows.order_by(*(one.desc() if is_down else one.asc() for one in (by, then)))
        if self.is_descending is not reverse:
            order = by.desc(nulls_first=True) if reverse else by.desc(nulls_last=True)
            return rows.order_by(order, then.desc())
        order = by.asc(nulls_first=True) if reverse else by.asc(nulls_last=True)
        return rows.order_by(order, then.asc())

    def beyond(self, cursor: Cursor) -> Q:
        """The rows behind the cursor, or before it if it points backward."""
        step = "lt" if self.is_descending is not cursor.is_backward else "gt"
        later_id = Q(**{f"id__{step}": cursor.id})
        if self.field == "id":
            return later_id
        is_null = Q(**{f"{self.field}__isnull": True})
        if cursor.value is None:
            in_line = is_null & later_id
            return in_line | ~is_null if cursor.is_backward else in_line
        further = Q(**{f"{self.field}__{step}": cursor.value})
        in_line = Q(**{self.field: cursor.value}) & later_id
        if self.has_no_nulls:
            return Q(**{f"{self.field}__{step}e": cursor.value}) & (further | in_line)
        return further | in_line if cursor.is_backward else further | in_line | is_null

    def up_to(self, edge: UUID, *, is_backward: bool) -> Q:
        """The rows not behind `edge`; only for an ordering by id."""
        return Q(**{f"id__{'gte' if self.is_descending is not is_backward else 'lte'}": edge})

    def edge(self, rows: QuerySet[Any], cursor: Cursor | None) -> UUID | None:
        """The last row to be looked at for a page behind `cursor`; None if there are not so many.

        Only for an ordering by id.
        """
        sorted_rows = self.sort(rows, reverse=cursor is not None and cursor.is_backward)
        if cursor is not None:
            sorted_rows = sorted_rows.filter(self.beyond(cursor))
        found: UUID | None = sorted_rows.values_list("id", flat=True)[LOOKED_THROUGH - 1 :].first()
        return found

    def turned(self, cursor: Cursor) -> Cursor:
        """The place from which to go back, the cursor's own row included; for an ordering by id."""
        is_down = self.is_descending is not cursor.is_backward
        before = UUID(int=cursor.id.int + (-1 if is_down else 1))
        return Cursor(before, before, not cursor.is_backward)

    def place_of(self, row: Model, *, is_backward: bool) -> Cursor:
        return Cursor(getattr(row, self.field), row.pk, is_backward)


class NewestFirst(BasePagination):
    """`{next, previous, results}`; `?count=capped` adds the number of rows, counted to 10,000."""

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        query = names.snake_query(request.query_params)
        self._url = request.build_absolute_uri()
        usual = getattr(view, "usual_ordering", NEWEST_FIRST)
        ordering = _ordering(query, getattr(view, "ordering_fields", ()), usual)
        has_no_nulls = not queryset.model._meta.get_field(ordering.field).null  # noqa: SLF001  Django's
        self._ordering = replace(ordering, has_no_nulls=has_no_nulls)
        self._looked_through = getattr(view, "looked_through", None)
        self._counts = self._count(queryset, query)
        size, cursor = _size(query), _cursor(query)
        is_backward = cursor is not None and cursor.is_backward
        rows, edge = self._bounded(queryset, cursor)
        rows = self._ordering.sort(rows, reverse=is_backward)
        if cursor is not None:
            rows = rows.filter(self._ordering.beyond(cursor))
        try:
            found = list(rows[: size + 1])
        except (InvalidValue, ValueError):  # the value is none of the field's type
            raise _bad_cursor() from None
        ahead = None if edge is None else Cursor(edge, edge, is_backward)
        if len(found) > size:
            found = found[:size]
            ahead = self._ordering.place_of(found[-1], is_backward=is_backward)
        behind = None
        if cursor is not None and found:
            behind = self._ordering.place_of(found[0], is_backward=not is_backward)
        elif cursor is not None and edge is not None:
            behind = self._ordering.turned(cursor)
        self._next, self._previous = (behind, ahead) if is_backward else (ahead, behind)
        return found[::-1] if is_backward else found

    def _bounded(self, rows: Any, cursor: Cursor | None) -> tuple[Any, UUID | None]:
        """The rows among which to look, and where looking stops if that is not their end."""
        if self._looked_through is None or self._ordering.field != "id":
            return rows, None
        edge = self._ordering.edge(self._looked_through, cursor)
        if edge is None:
            return rows, None
        is_backward = cursor is not None and cursor.is_backward
        return rows.filter(self._ordering.up_to(edge, is_backward=is_backward)), edge

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                **self._counts,
                "next": self._link(self._next),
                "previous": self._link(self._previous),
                "results": data,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True, "example": None}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": link,
                "previous": link,
                "count": {
                    "type": "integer",
                    "description": "only with `?count=capped`, up to 10,000",
                    "example": 1,
                },
                "count_capped": {
                    "type": "boolean",
                    "description": "true: there may be more than `count`",
                    "example": False,
                },
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        orders = [one for name in view.ordering_fields for one in (name, f"-{name}")]
        return [
            _parameter(
                "cursor",
                {"type": "string"},
                "from `next` or `previous`; a page can be short, even empty, and have a `next`",
            ),
            _parameter(
                "page_size",
                {"type": "integer", "minimum": 1, "maximum": LARGEST_SIZE, "default": USUAL_SIZE},
                "rows in a page",
            ),
            _parameter("ordering", {"type": "string", "enum": orders}, "default: newest first"),
            _parameter("count", {"type": "string", "enum": ["capped"]}, "count the rows, too"),
        ]

    def _link(self, place: Cursor | None) -> str | None:
        return None if place is None else replace_query_param(self._url, "cursor", str(place))

    def _count(self, rows: QuerySet[Model], query: Mapping[str, str]) -> dict[str, Any]:
        if "count" not in query:
            return {}
        if query["count"] != "capped":
            raise _invalid("count", "the only way to count is 'capped'")
        bounded, edge = self._bounded(rows, None)
        counted = bounded.order_by()[: COUNTED_UP_TO + 1].count()
        is_capped = counted > COUNTED_UP_TO or edge is not None
        return {"count": min(counted, COUNTED_UP_TO), "count_capped": is_capped}


def _ordering(query: Mapping[str, str], allowed: tuple[str, ...], usual: str) -> Ordering:
    chosen = Ordering.parse(query.get("ordering") or usual)
    if chosen.field in {"id", "created_at"}:  # ids follow the time of creation
        return Ordering("id", chosen.is_descending)
    if chosen.field not in allowed:
        names_ = ", ".join(allowed)
        raise _invalid("ordering", f"{chosen.field!r} is none of {names_}")
    return chosen


def _size(query: Mapping[str, str]) -> int:
    text = query.get("page_size", str(USUAL_SIZE))
    if not text.isdecimal() or not int(text[:10]):
        raise _invalid("page_size", f"{text!r} is no number from 1 to {LARGEST_SIZE}")
    return min(int(text[:10]), LARGEST_SIZE)


def _cursor(query: Mapping[str, str]) -> Cursor | None:
    if not query.get("cursor"):
        return None
    try:
        return Cursor.parse(query["cursor"])
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _bad_cursor() from None


def _bad_cursor() -> Problem:
    return _invalid("cursor", "it is none that this list gave; begin without one")


def _invalid(name: str, detail: str) -> Problem:
    return invalid([FieldError(f"/{name}", "invalid", detail)])


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}
