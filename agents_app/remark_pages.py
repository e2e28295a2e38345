"""The page of one agent's messages and facts: what it is told in cycles, and the form to tell more.

Everybody tells it something about their own work; operators also about everybody's.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from agents_app import memory
from agents_app.models import Agent
from agents_app.models_memory import MemoryKind
from agents_app.objects import remarks
from executions_app import clock, pages, permissions
from executions_app.api.pagination import Ordering

NEWEST_FIRST: Final = Ordering("id", is_descending=True, has_no_nulls=True)


@require_http_methods(["GET", "HEAD", "POST"])
@pages.signed_in
def remarks_of(request: HttpRequest, agent_id: UUID) -> HttpResponse:
    """`/agents/{id}/messages`: what the agent is told; a form that is sent here tells it more."""
    agent = get_object_or_404(Agent, id=agent_id)
    if request.method == "POST" and _leave(request, agent):
        return pages.back(request, otherwise=request.path)
    return render(request, "agents_app/remarks.html", _context(request, agent))


@require_POST
@pages.signed_in
def remove(request: HttpRequest, agent_id: UUID, remark_id: UUID) -> HttpResponse:
    """Take one back."""
    user = pages.user_of(request)
    row = get_object_or_404(remarks.seen_by(user), id=remark_id, agent_id=agent_id)
    pages.carried_out(
        request, lambda: remarks.remove(row.id, user=user), done="It is told in no further cycle"
    )
    return pages.back(request, otherwise=reverse("agent_remarks", args=[agent_id]))


def _leave(request: HttpRequest, agent: Agent) -> bool:
    words = {
        "text": request.POST.get("text", ""),
        "schedule_id": request.POST.get("schedule") or None,
        "shared": request.POST.get("shared") == "on",
    }
    is_fact = request.POST.get("kind") == MemoryKind.FACT.value
    kind, user = MemoryKind.FACT if is_fact else MemoryKind.MESSAGE, pages.user_of(request)
    return pages.carried_out(
        request,
        lambda: remarks.leave(agent.id, words, kind=kind, user=user),
        done=f"{agent.name} is told this from its next cycle on",
    )


def _context(request: HttpRequest, agent: Agent) -> dict[str, Any]:
    user = pages.user_of(request)
    is_operator = permissions.is_operator(user)
    schedules = remarks.schedules(user)
    names = {one.id: one.name for one in schedules}
    page = pages.page_of(
        remarks.seen_by(user).filter(agent_id=agent.id), request, ordering=NEWEST_FIRST
    )
    return {
        "now": clock.now(),
        "agent": agent,
        "page": page,
        "is_operator": is_operator,
        "schedules": schedules,
        "most_text": memory.MOST_TEXT,
        "given": request.POST,
        "remarks": [
            {
                "row": row,
                "about": names.get(row.schedule_id, row.schedule_id),
                "is_removable": row.owner_id is not None or is_operator,
            }
            for row in page.rows
        ],
    }
