"""The page of endpoints that executions call: how each is doing, and which are left alone."""

from __future__ import annotations

from math import floor
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from errors_app.breakers import figures, handling
from errors_app.breakers.figures import Health
from errors_app.breakers.store import StoreAway
from errors_app.models import Breaker
from executions_app import clock, pages
from executions_app.api.pagination import Ordering
from executions_app.audit import Actor
from executions_app.states import BreakerStatus, SchedulerException

MOST_OPEN: Final = 200
NEWEST_FIRST: Final = Ordering("id", is_descending=True)
POOR: Final = 0.95
"""A success rate below this is worth a second look."""


@require_safe
@pages.for_operators("see endpoints")
def endpoints(request: HttpRequest) -> HttpResponse:
    """`/endpoints`: those that are not called for the time being first."""
    name = "endpoints_live" if pages.is_fragment(request) else "endpoints"
    return render(request, f"errors_app/{name}.html", _context(request))


@require_POST
@pages.for_operators("reset breakers")
def reset(request: HttpRequest, breaker_id: UUID) -> HttpResponse:
    """Let calls go out again."""
    breaker = get_object_or_404(Breaker, id=breaker_id)
    actor = Actor.of(pages.user_of(request))

    def act() -> None:
        try:
            handling.reset(breaker, actor=actor)
        except StoreAway as error:
            raise SchedulerException(str(error)) from error

    pages.carried_out(request, act, done=f"The breaker of {breaker.key} is reset: calls go out")
    return pages.back(request, otherwise=reverse("endpoints"))


def _context(request: HttpRequest) -> dict[str, Any]:
    page = pages.page_of(
        Breaker.objects.filter(state=BreakerStatus.CLOSED), request, ordering=NEWEST_FIRST
    )
    rows = page.rows
    if page.is_first:
        refusing = Breaker.objects.exclude(state=BreakerStatus.CLOSED).order_by("-id")
        rows = [*refusing[:MOST_OPEN], *rows]
    found = sorted(figures.of(rows), key=lambda one: one.state == BreakerStatus.CLOSED)
    return {
        "now": clock.now(),
        "endpoints": [_row(one) for one in found],
        "page": page,
        "is_live": all(one.is_live for one in found),
        "refusing": sum(one.state != BreakerStatus.CLOSED for one in found),
    }


def _row(health: Health) -> dict[str, Any]:
    rate = health.success_rate
    percent = None if rate is None else floor(1000 * rate) / 10  # 999 of 1,000 are not all
    return {
        "health": health,
        "percent": None if percent is None else f"{percent:g} %",
        "is_poor": rate is not None and rate < POOR,
        "is_refusing": health.state != BreakerStatus.CLOSED,
    }
