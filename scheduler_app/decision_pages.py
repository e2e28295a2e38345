"""Approvals: what AIs propose, what would change with it, and what people say to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from agents_app import plan_pages
from executions_app import clock, ownership, pages
from executions_app.api.pagination import Ordering
from executions_app.audit import Actor
from executions_app.models import Execution
from executions_app.states import DecisionStatus
from scheduler_app import adoption, adoption_effects, adoption_weighing, adoption_words
from scheduler_app.adoption_words import Change, Moved
from scheduler_app.api.decision_serializers import RejectSerializer
from scheduler_app.api.decision_views import DecisionFilter
from scheduler_app.models import Schedule, ScheduleDecision

WAITING: Final = DecisionStatus.PROPOSED.value
ALL: Final = "all"
TABS: Final = {
    WAITING: "Waiting",
    "adopted": "Adopted",
    "refused,superseded,expired,reverted": "Not adopted",
    "recorded": "Recorded only",
    ALL: "All",
}
NEWEST_FIRST: Final = Ordering("id", is_descending=True, has_no_nulls=True)


@dataclass(frozen=True, slots=True)
class Row:
    """One decision with its schedule, as far as there is one, and what can be done with it.

    `outdated` says why an open proposal would not be adopted any more.
    """

    decision: ScheduleDecision
    name: str
    change: Change
    moved: list[Moved]
    outdated: str
    verbs: list[str]


@require_safe
@pages.signed_in
def approvals(request: HttpRequest) -> HttpResponse:
    """`/approvals`: the open proposals, or those that the filters of the API choose."""
    name = "approvals_live" if pages.is_fragment(request) else "approvals"
    status = request.GET.get("status", WAITING)
    words = {key: value for key, value in request.GET.items() if key not in {"cursor", "status"}}
    if status != ALL:
        words["status"] = status
    filters = DecisionFilter(data=words, queryset=_visible(request))
    is_usable = filters.is_valid()
    rows = filters.qs if is_usable else ScheduleDecision.objects.none()
    page, now = pages.page_of(rows, request, ordering=NEWEST_FIRST), clock.now()
    context = {
        "now": now,
        "rows": _rows(page.rows, now=now),
        "page": page,
        "tabs": TABS,
        "status": status,
        "is_usable": is_usable,
        "schedule_id": request.GET.get("schedule_id", ""),
        "plans": plan_pages.waiting_rows(request) if status == WAITING else [],
    }
    return render(request, f"scheduler_app/{name}.html", context, status=200 if is_usable else 400)


@require_safe
@pages.signed_in
def approval(request: HttpRequest, decision_id: UUID) -> HttpResponse:
    """`/approvals/ID`: one decision, with its reason and what limits made of it."""
    name = "approval_live" if pages.is_fragment(request) else "approval"
    found = get_object_or_404(_visible(request), id=decision_id)
    user, now = pages.user_of(request), clock.now()
    (row,) = _rows([found], now=now)
    context = {
        "now": now,
        "row": row,
        "decision": found,
        "links_schedules": user.is_staff and admin.site.is_registered(Schedule),
        "execution": _execution(found),
    }
    return render(request, f"scheduler_app/{name}.html", context)


@require_POST
@pages.signed_in
def decide(request: HttpRequest, decision_id: UUID, verb: str) -> HttpResponse:
    """Approve, reject or revert one, as whoever sees it may."""
    chosen = VERBS.get(verb)
    if chosen is None:
        raise Http404
    found = get_object_or_404(_visible(request), id=decision_id)
    act = chosen(request, found)
    if act is not None:
        pages.carried_out(request, act, done=DONE[verb])
    return pages.back(request, otherwise=reverse("approval", args=[found.id]))


Act = Callable[[], object]


def _approve(request: HttpRequest, found: ScheduleDecision) -> Act | None:
    return partial(adoption.approve, found, actor=Actor.of(pages.user_of(request)))


def _revert(request: HttpRequest, found: ScheduleDecision) -> Act | None:
    return partial(adoption.revert, found, actor=Actor.of(pages.user_of(request)))


def _reject(request: HttpRequest, found: ScheduleDecision) -> Act | None:
    given = RejectSerializer(data={"reason": request.POST.get("reason", "")})
    if not given.is_valid():
        messages.error(request, f"Nothing was changed: the reason: {given.errors['reason'][0]}")
        return None
    actor, reason = Actor.of(pages.user_of(request)), given.validated_data["reason"]
    return partial(adoption.reject, found, actor=actor, reason=reason)


VERBS: Final[Mapping[str, Callable[[HttpRequest, ScheduleDecision], Act | None]]] = {
    "approve": _approve,
    "reject": _reject,
    "revert": _revert,
}
DONE: Final = {
    "approve": "The proposal is adopted",
    "reject": "The proposal is rejected; the schedule goes on by its rule",
    "revert": "The decision is reverted",
}


def _execution(found: ScheduleDecision) -> Execution | None:
    if found.execution_id is None:
        return None
    return Execution.objects.filter(id=found.execution_id).only("id", "number").first()


def _visible(request: HttpRequest) -> QuerySet[ScheduleDecision]:
    rows = ScheduleDecision.objects.select_related("decided_by")
    return ownership.visible_to(pages.user_of(request), rows)


def _rows(found: Sequence[ScheduleDecision], *, now: datetime) -> list[Row]:
    schedules = Schedule.objects.in_bulk([one.schedule_id for one in found])
    return [_row(one, schedules.get(one.schedule_id), now=now) for one in found]


def _row(one: ScheduleDecision, schedule: Schedule | None, *, now: datetime) -> Row:
    outdated, verbs = "", []
    if one.status == DecisionStatus.PROPOSED:
        outdated = adoption_weighing.outdated(one, schedule, now=now)
        verbs = ["approve", "reject"]
    elif schedule is not None and adoption_effects.is_in_force(one, schedule, now=now):
        verbs = ["revert"]
    return Row(
        decision=one,
        name="deleted schedule" if schedule is None else schedule.name,
        change=adoption_words.change(one),
        moved=adoption_words.moved(one),
        outdated=outdated,
        verbs=verbs,
    )
