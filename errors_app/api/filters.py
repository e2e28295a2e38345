"""How errors and dead letters of executions are chosen."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from errors_app.models import DeadLetter, ErrorRecord
from errors_app.recovery import OPEN
from errors_app.taxonomy import ErrorClass, Severity
from executions_app.api.filters import (
    BoundedFilterSet,
    WordsFilter,
    created_after,
    created_before,
)
from executions_app.states import RecoveryStatus

HANDLING: Final = {"open": "", "requeued": "requeued", "discarded": "discarded"}


class ErrorFilter(BoundedFilterSet):
    """Every name by which error records can be chosen."""

    by_index = BoundedFilterSet.by_index | {"schedule_id", "execution_id", "incident"}

    recovery_status = WordsFilter(RecoveryStatus)
    severity = WordsFilter(Severity)
    error_class = WordsFilter(ErrorClass)
    schedule_id = filters.UUIDFilter()
    execution_id = filters.UUIDFilter()
    incident = filters.UUIDFilter(field_name="incident_id")
    fingerprint = filters.CharFilter()
    created_after = filters.IsoDateTimeFilter(method=created_after)
    created_before = filters.IsoDateTimeFilter(method=created_before)

    class Meta:
        model = ErrorRecord
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        if name == "recovery_status":
            return set(OPEN).issuperset(value)
        return super().is_by_index(name, value)


class DeadLetterFilter(BoundedFilterSet):
    """Every name by which dead letters can be chosen; without `handling`, the open ones."""

    by_index = BoundedFilterSet.by_index | {"schedule_id", "execution_id"}

    schedule_id = filters.UUIDFilter()
    execution_id = filters.UUIDFilter()
    error_class = WordsFilter(ErrorClass)
    created_after = filters.IsoDateTimeFilter(method=created_after)
    created_before = filters.IsoDateTimeFilter(method=created_before)
    handling = filters.ChoiceFilter(
        choices=[(one, one) for one in (*HANDLING, "all")], method="handled"
    )

    class Meta:
        model = DeadLetter
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        return (name == "handling" and value in {"open", "all"}) or super().is_by_index(name, value)

    def looked_through(self) -> QuerySet[DeadLetter] | None:
        rows = super().looked_through()
        is_for_the_open = not self.form.cleaned_data["handling"]
        return rows.filter(handling="") if rows is not None and is_for_the_open else rows

    def handled(
        self, rows: QuerySet[DeadLetter], _name: str, handling: str
    ) -> QuerySet[DeadLetter]:
        """The letters of one handling, or all."""
        return rows if handling == "all" else rows.filter(handling=HANDLING[handling])

    def filter_queryset(self, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        chosen: QuerySet[DeadLetter] = super().filter_queryset(queryset)
        return chosen if self.form.cleaned_data["handling"] else chosen.filter(handling="")
