"""How rows of record appear in the admin: read-only, newest first, never counted whole.

Large tables are partitioned on an id that begins with its time, so the filter by time is a bound
on the id, every list goes along the primary key and a count stops at a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin

from executions_app import clock, ids
from executions_app.audit import Actor
from executions_app.states import SchedulerException

Rows = QuerySet[Any]
MOST_COUNTED: Final = 10_000
SPANS: Final = {
    "hour": ("last hour", timedelta(hours=1)),
    "day": ("last 24 hours", timedelta(days=1)),
    "week": ("last 7 days", timedelta(days=7)),
    "month": ("last 31 days", timedelta(days=31)),
}


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # generic only in the stubs
    """Pages through at most MOST_COUNTED rows; older ones are found by filter or search."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        number: int = rows[:MOST_COUNTED].count()
        return number


class Since(admin.SimpleListFilter):
    """Rows recorded lately: a bound on the id, which prunes partitions."""

    title = "recorded"
    parameter_name = "since"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(name, title) for name, (title, _) in SPANS.items()]

    def queryset(self, _request: HttpRequest, rows: Rows) -> Rows:
        span = SPANS.get(self.value() or "")
        return rows if span is None else rows.filter(id__gte=ids.floor(clock.now() - span[1]))


class OneOf(admin.SimpleListFilter):
    """Rows whose column holds one of a closed list of values; asks no table which there are."""

    values: ClassVar[type[StrEnum]]

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(one.value, one.value.replace("_", " ")) for one in self.values]

    def queryset(self, _request: HttpRequest, rows: Rows) -> Rows:
        chosen = self.value()
        is_known = chosen in set(self.values)
        return rows.filter(**{str(self.parameter_name): chosen}) if is_known else rows


def one_of(column: str, values: type[StrEnum]) -> type[OneOf]:
    """The filter of a column by the members of an enum."""
    title = column.replace("_", " ")
    words = {"values": values, "parameter_name": column, "title": title}
    return type(f"{values.__name__}Filter", (OneOf,), words)


class OwnedAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Superusers see every row, others those that are theirs."""

    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> Rows:
        rows: Rows = super().get_queryset(request)
        is_all_seeing = getattr(request.user, "is_superuser", False)
        return rows if is_all_seeing else self.owned_by(rows, request.user.pk)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:  # noqa: ARG002  for those who own
        """The rows of one user: none, where rows belong to nobody."""
        return rows.none()

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether the user may use actions: those who hold the model's change permission."""
        options = self.model._meta  # noqa: SLF001  Django's documented name for it
        return request.user.has_perm(f"{options.app_label}.change_{options.model_name}")


class RecordAdmin(OwnedAdmin):
    """Rows that only the system writes."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False


def act_on_each(
    request: HttpRequest, rows: Iterable[Any], act: Callable[..., object], *, done: str
) -> None:
    """Call `act(row, actor=...)` for every row; tells how many went well and why others did not.

    `done` completes the sentence "3 executions ...".
    """
    actor = Actor.of(request.user)
    well = 0
    for row in rows:
        try:
            act(row, actor=actor)
        except SchedulerException as error:
            messages.error(request, f"{row}: {error}")
        else:
            well += 1
    if well:
        messages.success(request, f"{well} {done}")
