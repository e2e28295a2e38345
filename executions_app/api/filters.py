"""How executions are chosen: one FilterSet for the API, the pages and whatever acts on many."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.constants import EMPTY_VALUES

from executions_app import ids
from executions_app.models import Execution
from executions_app.states import ACTIVE, ExecutionStatus, Outcome, Priority, Trigger

MOST_DIGITS: Final = 18  # of a number that PostgreSQL's bigint holds
OLDEST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # an id has no earlier time


class WordsFilter(filters.BaseInFilter, filters.ChoiceFilter):  # type: ignore[misc]  # untyped
    """One of the known words, or several: `failed,cancelled`."""

    def __init__(self, words: Iterable[StrEnum], **kwargs: Any) -> None:
        super().__init__(choices=[(one.value, one.value) for one in words], **kwargs)


def created_after(rows: QuerySet[Any], _name: str, instant: datetime) -> QuerySet[Any]:
    """Rows made at or after an instant; their ids follow time."""
    return rows.filter(id__gte=ids.floor(max(instant, OLDEST)))


def created_before(rows: QuerySet[Any], _name: str, instant: datetime) -> QuerySet[Any]:
    """Rows made before an instant."""
    return rows.filter(id__lt=ids.floor(max(instant, OLDEST)))


def held(rows: QuerySet[Execution], beginning: str) -> QuerySet[Execution]:
    """Executions held back by what begins so; an empty beginning is whatever holds them."""
    waiting = rows.filter(status=ExecutionStatus.PENDING).exclude(held_by="")
    return waiting.filter(held_by__startswith=beginning) if beginning else waiting


class BoundedFilterSet(filters.FilterSet):  # type: ignore[misc]  # untyped library
    """Filters of a large table: what no index answers is looked for in a bounded number of rows.

    `by_index` names the filters whose rows an index finds in the order of the list.
    """

    by_index: ClassVar[frozenset[str]] = frozenset({"created_after", "created_before"})

    def looked_through(self) -> QuerySet[Any] | None:
        """The rows that have to be looked through one by one; None if indexes answer it all."""
        given = {
            name: value
            for name, value in self.form.cleaned_data.items()
            if value not in EMPTY_VALUES
        }
        indexed = {name for name, value in given.items() if self.is_by_index(name, value)}
        if indexed == given.keys():
            return None
        rows: QuerySet[Any] = self.queryset.all()
        for name in indexed:
            rows = self.filters[name].filter(rows, given[name])
        return rows

    def is_by_index(self, name: str, value: Any) -> bool:  # noqa: ARG002  for those who look at it
        """True if an index finds the rows of this filter."""
        return name in self.by_index


class ExecutionFilter(BoundedFilterSet):
    """Every name by which executions can be chosen."""

    by_index = BoundedFilterSet.by_index | {"schedule_id"}

    schedule_id = filters.UUIDFilter()
    status = WordsFilter(ExecutionStatus)
    outcome = WordsFilter(Outcome)
    trigger = WordsFilter(Trigger)
    priority = WordsFilter(Priority)
    task_type = filters.CharFilter(field_name="snapshot__task_type")
    worker = filters.CharFilter(field_name="worker_id", help_text="the worker's full name")
    held_by = filters.CharFilter(
        method="held",
        help_text="the beginning of what holds it: `limit:`, `rate:key:tenant:`, `unique:`, "
        "`overlap:`",
    )
    search = filters.CharFilter(
        method="having", help_text="a part of the name, or the number: `#7`, also `7` if there is"
    )
    dead = filters.BooleanFilter(method="given_up", help_text="given up")
    created_after = filters.IsoDateTimeFilter(method=created_after)
    created_before = filters.IsoDateTimeFilter(method=created_before)

    class Meta:
        model = Execution
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        if name == "status":
            # What is active is little. What failed is not, and has an index of everybody's only.
            return ACTIVE.issuperset(value) or (self._is_for_all() and value == ["failed"])
        if name == "dead":
            return self._is_for_all()
        if name == "search":
            return self._numbered(self.queryset, value) is not None
        return name == "held_by" or super().is_by_index(name, value)

    def held(self, rows: QuerySet[Execution], _name: str, beginning: str) -> QuerySet[Execution]:
        """Executions that wait for something whose name begins so."""
        return held(rows, beginning)

    def having(self, rows: QuerySet[Execution], _name: str, text: str) -> QuerySet[Execution]:
        """Executions whose number it is, else those whose name holds the text."""
        numbered = self._numbered(rows, text)
        return rows.filter(snapshot__name__icontains=text) if numbered is None else numbered

    def given_up(
        self,
        rows: QuerySet[Execution],
        _name: str,
        value: bool,  # noqa: FBT001  django-filter's
    ) -> QuerySet[Execution]:
        """Executions that stand in the dead letters (only failed ones do), or the others."""
        if value:
            return rows.filter(status=ExecutionStatus.FAILED, dead_letter_at__isnull=False)
        return rows.filter(dead_letter_at__isnull=True)

    def _is_for_all(self) -> bool:
        return self.request is not None and self.request.user.is_superuser

    def _numbered(self, rows: QuerySet[Execution], text: str) -> QuerySet[Execution] | None:
        number = text.removeprefix("#")
        if not number.isdecimal() or len(number) > MOST_DIGITS:
            return None
        found = rows.filter(number=int(number))
        is_meant = text.startswith("#") or self.queryset.filter(number=int(number)).exists()
        return found if is_meant else None
