"""Plans that wait for a person: each with what it would do, what is new in it, and yes or no."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from agents_app import plan_story
from agents_app.api.approvals import ApprovalFilter, ApproveSerializer, RejectPlanSerializer
from agents_app.cycle import approving
from agents_app.models import PlanApproval
from executions_app import clock, ownership, pages, wording
from executions_app.api.pagination import Ordering
from executions_app.audit import Actor
from executions_app.models import Execution
from executions_app.states import ApprovalStatus

MOST_WAITING: Final = 50
NEWEST_FIRST: Final = Ordering("id", is_descending=True, has_no_nulls=True)
LIKE: Final[Mapping[str, str]] = {
    ApprovalStatus.WAITING: "waiting",
    ApprovalStatus.APPROVED: "completed",
    ApprovalStatus.REJECTED: "failed",
}
"""The sign of an execution's state; all others look like a cancelled one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request in a list."""

    approval: PlanApproval
    execution: Execution | None
    name: str

    @property
    def looks_like(self) -> str:
        return LIKE.get(self.approval.status, "cancelled")


@require_safe
@pages.signed_in
def plans(request: HttpRequest) -> HttpResponse:
    """`/approvals/plans`: what people were asked about, the newest first."""
    name = "plans_live" if pages.is_fragment(request) else "plans"
    words = {key: value for key, value in request.GET.items() if key != "cursor"}
    filters = ApprovalFilter(data=words, queryset=_visible(request))
    is_usable = filters.is_valid()
    chosen = filters.qs if is_usable else PlanApproval.objects.none()
    page = pages.page_of(chosen, request, ordering=NEWEST_FIRST)
    context = {
        "now": clock.now(),
        "rows": rows_of(page.rows),
        "page": page,
        "is_usable": is_usable,
    }
    return render(request, f"agents_app/{name}.html", context, status=200 if is_usable else 400)


@require_safe
@pages.signed_in
def plan(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """`/approvals/plans/ID`: one plan, as it would be carried out or was."""
    name = "plan_live" if pages.is_fragment(request) else "plan"
    found = get_object_or_404(_visible(request), id=approval_id)
    story, now = plan_story.of(found), clock.now()
    context = {
        "now": now,
        "story": story,
        "approval": found,
        "row": Row(found, story.execution, plan_story.name_of(story.execution)),
        "why": _why(story.execution, now=now),
    }
    return render(request, f"agents_app/{name}.html", context)


@require_POST
@pages.signed_in
def decide(request: HttpRequest, approval_id: UUID, verb: str) -> HttpResponse:
    """Say yes or no to one, as whoever sees it may."""
    chosen = VERBS.get(verb)
    if chosen is None:
        raise Http404
    found = get_object_or_404(_visible(request), id=approval_id)
    act = chosen(request, found)
    if act is not None:
        pages.carried_out(request, act, done=DONE[verb])
    return pages.back(request, otherwise=reverse("plan", args=[found.id]))


def waiting_rows(request: HttpRequest) -> list[Row]:
    """What waits for whoever asks, what is due first in front."""
    waiting = _visible(request).filter(status=ApprovalStatus.WAITING)
    return rows_of(waiting.order_by("expires_at", "id")[:MOST_WAITING])


def rows_of(found: Sequence[PlanApproval] | QuerySet[PlanApproval]) -> list[Row]:
    """Lines of a list, with their executions in one query."""
    approvals = list(found)
    known = plan_story.executions(approvals) if approvals else {}
    executions = [known.get(one.execution_id) for one in approvals]
    return [
        Row(one, execution, plan_story.name_of(execution))
        for one, execution in zip(approvals, executions, strict=True)
    ]


Act = Callable[[], object]


def _approve(request: HttpRequest, found: PlanApproval) -> Act | None:
    given = ApproveSerializer(data={"plan_hash": request.POST.get("plan_hash", "")})
    if not given.is_valid():
        messages.error(request, "Nothing was changed: the form does not say which plan is meant")
        return None
    actor, plan_hash = Actor.of(pages.user_of(request)), given.validated_data["plan_hash"]
    return partial(approving.approve, found, plan_hash=plan_hash, actor=actor)


def _reject(request: HttpRequest, found: PlanApproval) -> Act | None:
    given = RejectPlanSerializer(data={"reason": request.POST.get("reason", "")})
    if not given.is_valid():
        messages.error(request, f"Nothing was changed: the reason: {given.errors['reason'][0]}")
        return None
    actor, reason = Actor.of(pages.user_of(request)), given.validated_data["reason"]
    return partial(approving.reject, found, reason=reason, actor=actor)


VERBS: Final[Mapping[str, Callable[[HttpRequest, PlanApproval], Act | None]]] = {
    "approve": _approve,
    "reject": _reject,
}
DONE: Final = {
    "approve": "The plan is approved and carried out as soon as there is room",
    "reject": "The plan is rejected; its execution has failed and is not tried again",
}


def _why(execution: Execution | None, *, now: datetime) -> str:
    if execution is None:
        return ""
    words = wording.why(execution, now=now), plan_story.sentence(execution, now=now)
    return " ".join(one for one in words if one)


def _visible(request: HttpRequest) -> QuerySet[PlanApproval]:
    rows = PlanApproval.objects.select_related("decided_by")
    return ownership.visible_to(pages.user_of(request), rows)
