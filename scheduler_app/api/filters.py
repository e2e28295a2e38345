"""How schedules are chosen: one FilterSet for the API, the pages and whatever acts on many."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from executions_app.api.filters import BoundedFilterSet, WordsFilter
from executions_app.states import Priority
from scheduler_app.models import BusinessCalendar, Limit, Schedule
from scheduler_app.policies import OverlapPolicy, TriggerType


class ScheduleFilter(BoundedFilterSet):
    """Every name by which schedules can be chosen."""

    enabled = filters.BooleanFilter()
    priority = WordsFilter(Priority)
    trigger_type = WordsFilter(TriggerType)
    schedule_type = filters.CharFilter()
    task_type = filters.CharFilter()
    agent = filters.CharFilter(field_name="task_config__agent", help_text="the agent's name")
    search = filters.CharFilter(field_name="name", lookup_expr="icontains")
    name = filters.CharFilter()
    is_paused = filters.BooleanFilter(method="paused")
    pause_reason = filters.CharFilter(help_text="the whole reason")
    overlap_policy = WordsFilter(OverlapPolicy)
    calendar = filters.UUIDFilter(field_name="calendar_id", help_text="the calendar's id")

    class Meta:
        model = Schedule
        fields: list[str] = []

    def paused(
        self,
        rows: QuerySet[Schedule],
        _name: str,
        value: bool,  # noqa: FBT001  django-filter's
    ) -> QuerySet[Schedule]:
        """Schedules with a pause that has an end or a reason, or those without."""
        is_paused = Q(paused_until__isnull=False) | ~Q(pause_reason="")
        return rows.filter(is_paused) if value else rows.exclude(is_paused)


class CalendarFilter(BoundedFilterSet):
    """Every name by which business calendars can be chosen."""

    name = filters.CharFilter()
    search = filters.CharFilter(field_name="name", lookup_expr="icontains")

    class Meta:
        model = BusinessCalendar
        fields: list[str] = []


class LimitFilter(BoundedFilterSet):
    """Every name by which limits can be chosen."""

    key = filters.CharFilter()
    search = filters.CharFilter(field_name="key", lookup_expr="icontains")

    class Meta:
        model = Limit
        fields: list[str] = []
