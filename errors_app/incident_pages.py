"""The pages of incidents: which executions fail alike, and what people decide about that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from errors_app.api.incident_views import IncidentFilter
from errors_app.api.serializers import NoteSerializer
from errors_app.incidents import deciding, sparkline, trends
from errors_app.incidents.sparkline import Sparkline
from errors_app.models import ErrorRecord, Incident
from executions_app import clock, ownership, pages
from executions_app.api.pagination import Ordering
from executions_app.audit import Actor
from executions_app.models import Execution
from executions_app.states import IncidentStatus, is_legal

ALL: Final = "all"
TABS: Final = (*IncidentStatus, ALL)
ERRORS_SHOWN: Final = 20
LAST_SEEN_FIRST: Final = Ordering("last_seen_at", is_descending=True, has_no_nulls=True)


@dataclass(frozen=True, slots=True)
class Verb:
    """What a button does: `target` is the state after it, `done` the word on it."""

    name: str
    decide: Callable[..., Incident]
    target: IncidentStatus
    done: str


VERBS: Final[Mapping[str, Verb]] = {
    one.name: one
    for one in (
        Verb("acknowledge", deciding.acknowledge, IncidentStatus.ACKNOWLEDGED, "acknowledged"),
        Verb("resolve", deciding.resolve, IncidentStatus.RESOLVED, "resolved"),
        Verb("ignore", deciding.ignore, IncidentStatus.IGNORED, "ignored from now on"),
        Verb("reopen", deciding.reopen, IncidentStatus.OPEN, "open again"),
    )
}


@dataclass(frozen=True, slots=True)
class Row:
    """One incident with its trend and what may be decided about it as it is."""

    incident: Incident
    direction: str
    picture: Sparkline
    verbs: list[str]


@require_safe
@pages.signed_in
def incidents(request: HttpRequest) -> HttpResponse:
    """`/incidents`: the open ones, or those that the filters of the API choose."""
    name = "incidents_live" if pages.is_fragment(request) else "incidents"
    status = request.GET.get("status", IncidentStatus.OPEN.value)
    words = {key: value for key, value in request.GET.items() if key not in {"cursor", "status"}}
    if status != ALL:
        words["status"] = status
    filters = IncidentFilter(data=words, queryset=_visible(request).select_related("handled_by"))
    is_usable = filters.is_valid()
    rows = filters.qs if is_usable else Incident.objects.none()
    page, now = pages.page_of(rows, request, ordering=LAST_SEEN_FIRST), clock.now()
    context = {
        "now": now,
        "rows": _rows(page.rows, now=now),
        "page": page,
        "tabs": TABS,
        "status": status,
        "is_usable": is_usable,
        "schedule_id": request.GET.get("schedule_id", ""),
    }
    return render(request, f"errors_app/{name}.html", context, status=200 if is_usable else 400)


@require_safe
@pages.signed_in
def incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """`/incidents/ID`: one, with its last errors and what became of their executions."""
    name = "incident_live" if pages.is_fragment(request) else "incident"
    found = get_object_or_404(_visible(request).select_related("handled_by"), id=incident_id)
    user, now = pages.user_of(request), clock.now()
    (row,) = _rows([found], now=now)
    context = {
        "now": now,
        "row": row,
        "incident": found,
        "errors": _errors(found),
        "links_errors": user.is_staff and admin.site.is_registered(ErrorRecord),
        "links_executions": user.is_staff and admin.site.is_registered(Execution),
    }
    return render(request, f"errors_app/{name}.html", context)


@require_POST
@pages.signed_in
def decide(request: HttpRequest, incident_id: UUID, verb: str) -> HttpResponse:
    """Acknowledge, resolve, ignore or reopen one, as whoever sees it may."""
    chosen = VERBS.get(verb)
    if chosen is None:
        raise Http404
    found = get_object_or_404(_visible(request), id=incident_id)
    given = NoteSerializer(data={"note": request.POST.get("note", "")})
    if given.is_valid():
        act = partial(
            chosen.decide,
            found,
            actor=Actor.of(pages.user_of(request)),
            note=given.validated_data["note"],
        )
        pages.carried_out(request, act, done=f"The incident is {chosen.done}: {found.title}")
    else:
        messages.error(request, f"Nothing was changed: the note: {given.errors['note'][0]}")
    return pages.back(request, otherwise=reverse("incident", args=[found.id]))


def _visible(request: HttpRequest) -> QuerySet[Incident]:
    return ownership.visible_to(pages.user_of(request), Incident.objects.all())


def _rows(found: Sequence[Incident], *, now: datetime) -> list[Row]:
    known = trends.of([one.id for one in found], now=now)
    return [_row(one, known.get(one.id, trends.NONE)) for one in found]


def _row(one: Incident, trend: trends.Trend) -> Row:
    status = IncidentStatus(one.status)
    verbs = [verb.name for verb in VERBS.values() if is_legal(status, verb.target)]
    return Row(one, trend.direction.value, sparkline.draw(trend.hours), verbs)


def _errors(found: Incident) -> list[dict[str, Any]]:
    """Its newest errors, each with its execution if that is still kept."""
    rows = list(ErrorRecord.objects.filter(incident_id=found.id).order_by("-id")[:ERRORS_SHOWN])
    executions = _executions(one.execution_id for one in rows if one.execution_id)
    return [
        {"error": one, "execution": executions.get(one.execution_id) if one.execution_id else None}
        for one in rows
    ]


def _executions(ids: Iterable[UUID]) -> dict[UUID, Execution]:
    rows = Execution.objects.filter(id__in=set(ids)).only("id", "number", "status")
    return {one.id: one for one in rows}
