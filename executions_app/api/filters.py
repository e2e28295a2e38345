"""How executions are chosen: one FilterSet for the API, the pages and whatever acts on many."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from executions_app import ids
from executions_app.models import Execution
from executions_app.states import ExecutionStatus, Outcome, Priority, Trigger

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


class ExecutionFilter(filters.FilterSet):  # type: ignore[misc]  # untyped library
    """Every name by which executions can be chosen."""

    schedule_id = filters.UUIDFilter()
    status = WordsFilter(ExecutionStatus)
    outcome = WordsFilter(Outcome)
    trigger = WordsFilter(Trigger)
    priority = WordsFilter(Priority)
    task_type = filters.CharFilter(field_name="snapshot__task_type")
    worker = filters.CharFilter(field_name="worker_id", help_text="the worker's full name")
    search = filters.CharFilter(method="having", help_text="a part of the name, or the number")
    dead = filters.BooleanFilter(
        field_name="dead_letter_at", lookup_expr="isnull", exclude=True, help_text="given up"
    )
    created_after = filters.IsoDateTimeFilter(method=created_after)
    created_before = filters.IsoDateTimeFilter(method=created_before)

    class Meta:
        model = Execution
        fields: list[str] = []

    def having(self, rows: QuerySet[Execution], _name: str, text: str) -> QuerySet[Execution]:
        """Executions whose name holds the text, or whose number it is."""
        by_name = Q(snapshot__name__icontains=text)
        number = text.removeprefix("#")
        is_number = number.isdecimal() and len(number) <= 18
        return rows.filter(by_name | Q(number=int(number)) if is_number else by_name)
