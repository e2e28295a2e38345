"""Which executions (or letters, errors, schedules) an operation is for: the filters of their list.

A verb belongs to one list and is for the rows that it can move; the FilterSet of that list, the one
that REST and the pages use, chooses among them. Rows are walked in the order of their ids, and each
page looks through a bounded number of rows, however few of them the filter lets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db.models import Model, Q, QuerySet
from django.http import QueryDict
from django_filters.constants import EMPTY_VALUES

from errors_app import many as errors
from errors_app.api.filters import DeadLetterFilter, ErrorFilter
from errors_app.models import DeadLetter, ErrorRecord
from executions_app import clock
from executions_app.api.filters import BoundedFilterSet, ExecutionFilter
from executions_app.models import Execution
from executions_app.states import ACTIVE, ExecutionStatus, RecoveryStatus, SchedulerException
from scheduler_app.api.filters import ScheduleFilter
from scheduler_app.models import Schedule
from scheduler_app.models_bulk import BulkVerb

LOOKED_THROUGH: Final = 5_000
"""Rows of a page among which a filter without an index looks."""
COUNTED_UP_TO: Final = 10_000
COUNTED_AMONG: Final = 50_000
"""Rows among which a filter without an index counts."""

Rows = QuerySet[Any]


class InvalidChoice(SchedulerException):
    """The filter chooses nothing that makes sense; `path` says what is wrong."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(path)}: {message}")
        self.path, self.message = path, message


@dataclass(frozen=True, slots=True)
class List:
    """A list of rows, and how it is chosen from."""

    name: str
    model: type[Model]
    filters: type[BoundedFilterSet]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a verb is for: the rows of a list that it can move as they are now."""

    list: List
    movable: Callable[[], Q]
    is_found_by_index: bool
    """True if an index holds what the verb can move in the order of the ids."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of an operation; `among` are those to look through if no index finds them."""

    rows: Rows
    among: Rows | None


@dataclass(frozen=True, slots=True)
class Page:
    """The next rows; everything up to `cursor` has been looked at then."""

    ids: list[UUID]
    cursor: UUID
    is_last: bool


def firing() -> Q:
    """Schedules that fire."""
    return Q(enabled=True) & (Q(paused_until__isnull=True) | Q(paused_until__lte=clock.now()))


def off() -> Q:
    """Schedules that are paused or disabled."""
    return Q(enabled=False) | Q(paused_until__gt=clock.now())


def _given_up() -> Q:
    return Q(status=ExecutionStatus.FAILED, dead_letter_at__isnull=False, discarded_at__isnull=True)


EXECUTIONS: Final = List("executions", Execution, ExecutionFilter)
LETTERS: Final = List("dead_letters", DeadLetter, DeadLetterFilter)
ERRORS: Final = List("errors", ErrorRecord, ErrorFilter)
SCHEDULES: Final = List("schedules", Schedule, ScheduleFilter)
KINDS: Final[Mapping[BulkVerb, Kind]] = {
    BulkVerb.CANCEL: Kind(EXECUTIONS, lambda: Q(status__in=[one.value for one in ACTIVE]), False),
    BulkVerb.RETRY: Kind(EXECUTIONS, _given_up, True),
    BulkVerb.REQUEUE: Kind(LETTERS, lambda: Q(handling=""), True),
    BulkVerb.DISCARD: Kind(LETTERS, lambda: Q(handling=""), True),
    BulkVerb.RESOLVE: Kind(
        ERRORS, lambda: Q(recovery_status__in=errors.leading_to(RecoveryStatus.RESOLVED)), False
    ),
    BulkVerb.IGNORE: Kind(
        ERRORS, lambda: Q(recovery_status__in=errors.leading_to(RecoveryStatus.IGNORED)), False
    ),
    BulkVerb.PAUSE: Kind(SCHEDULES, firing, False),
    BulkVerb.RESUME: Kind(SCHEDULES, off, False),
}


def visible(verb: BulkVerb, user: AbstractUser, *, sees_all: bool) -> Rows:
    """The rows of the verb's list that were `user`'s to see and still are."""
    rows: Rows = KINDS[verb].list.model._default_manager.all()  # noqa: SLF001  Django's own name
    return rows if sees_all and user.is_superuser else rows.filter(owner_id=user.pk)


def read(verb: BulkVerb, words: Mapping[str, str], rows: Rows) -> Chosen:
    """Those of `rows` that the verb can move and the filter lets pass; raises InvalidChoice."""
    kind = KINDS[verb]
    known = kind.list.filters.base_filters
    for name in words:
        if name not in known:
            names = ", ".join(known)
            raise InvalidChoice(("filter", name), f"there is no such filter; known are {names}")
    data = QueryDict(mutable=True)
    data.update(words)
    filters = kind.list.filters(data=data, queryset=rows)
    if not filters.is_valid():
        name, problems = next(iter(filters.errors.items()))
        raise InvalidChoice(("filter", name), str(problems[0]))
    for name in words:
        if _is_empty(filters.form.cleaned_data[name]):
            raise InvalidChoice(("filter", name), "is empty; leave it out, or say what it is")
    is_narrow = not filters.by_index.isdisjoint(words.keys() - BoundedFilterSet.by_index)
    among = filters.looked_through()
    if among is None and not (kind.is_found_by_index or is_narrow):
        among = rows  # what can be moved may be rare among them
    return Chosen(filters.qs.filter(kind.movable()), among)


def page(chosen: Chosen, *, after: UUID | None, newest: UUID, size: int) -> Page:
    """The next rows behind `after`, at most `size`, none born after `newest`."""
    edge = None
    if chosen.among is not None:
        edge = _nth(_between(chosen.among, after, newest), LOOKED_THROUGH)
    found = _ids(_between(chosen.rows, after, edge or newest), size)
    if len(found) == size:
        return Page(found, found[-1], is_last=False)
    return Page(found, edge or newest, is_last=edge is None)


def still(chosen: Chosen, ids: Collection[UUID]) -> set[UUID]:
    """Which of these rows are chosen as they are now."""
    return set(chosen.rows.filter(id__in=ids).values_list("id", flat=True))


def count(chosen: Chosen, *, newest: UUID) -> tuple[int, bool]:
    """How many rows, up to COUNTED_UP_TO, and whether there may be more."""
    edge = None
    if chosen.among is not None:
        edge = _nth(_between(chosen.among, None, newest), COUNTED_AMONG)
    rows = _between(chosen.rows, None, edge or newest)
    number = rows.order_by()[: COUNTED_UP_TO + 1].count()
    return min(number, COUNTED_UP_TO), number > COUNTED_UP_TO or edge is not None


def newest(verb: BulkVerb) -> UUID | None:
    """The id of the row that was born last; None where there is none."""
    rows = KINDS[verb].list.model._default_manager.order_by("-id")  # noqa: SLF001  Django's name
    found: UUID | None = rows.values_list("id", flat=True).first()
    return found


def _between(rows: Rows, after: UUID | None, until: UUID) -> Rows:
    bounded = rows.filter(id__lte=until)
    return bounded if after is None else bounded.filter(id__gt=after)


def _ids(rows: Rows, size: int) -> list[UUID]:
    return list(rows.order_by("id").values_list("id", flat=True)[:size])


def _nth(rows: Rows, number: int) -> UUID | None:
    found: UUID | None = rows.order_by("id").values_list("id", flat=True)[number - 1 :].first()
    return found


def _is_empty(value: Any) -> bool:
    if isinstance(value, list):
        return all(one in EMPTY_VALUES for one in value)
    return value in EMPTY_VALUES
