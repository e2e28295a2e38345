"""The page of agents, which plan and carry out cycles: room, health, cost, how they decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db.models import F, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from agents_app import health, scores
from agents_app.clients import llm
from agents_app.models import Agent, Cycle
from agents_app.objects import agents, defaults, drafts, standing
from agents_app.objects.standing import Standing
from agents_app.scores import Score
from executions_app import clock, ids, pages, permissions
from executions_app.api.pagination import Ordering
from executions_app.audit import Actor

BY_NAME: Final = Ordering("name", is_descending=False, has_no_nulls=True)
LATELY: Final = timedelta(hours=24)
TEST_SECONDS: Final = 10.0


@require_safe
@pages.signed_in
def listing(request: HttpRequest) -> HttpResponse:
    """`/agents`: for everybody; costs and decisions of one's own cycles, for operators of all."""
    name = "agents_live" if pages.is_fragment(request) else "agents"
    return render(request, f"agents_app/{name}.html", _context(request))


@require_POST
@pages.for_operators("change agents")
def decide(request: HttpRequest, agent_id: UUID, verb: str) -> HttpResponse:
    """Pause it, let it go on, or ask its model whether it answers."""
    agent = get_object_or_404(Agent.objects.select_related("provider"), id=agent_id)
    actor = Actor.of(pages.user_of(request))
    acts = {
        "pause": (lambda: _switch(agent, on=False, actor=actor), "is paused: what runs goes on"),
        "resume": (lambda: _switch(agent, on=True, actor=actor), "may be chosen again"),
        "test": (lambda: _test(agent, actor=actor), "answers"),
    }
    if verb not in acts:
        raise Http404
    act, done = acts[verb]
    pages.carried_out(request, act, done=f"Agent {agent.name} {done}")
    return pages.back(request, otherwise=reverse("agents"))


def _switch(agent: Agent, *, on: bool, actor: Actor) -> None:
    agents.change(agent.id, {"enabled": on}, actor=actor)


def _test(agent: Agent, *, actor: Actor) -> None:
    try:
        llm.probe(agent.provider, model=agent.model, seconds=TEST_SECONDS)
    except llm.ModelError as error:
        health.asked(agent, agent.provider, error=error)
        raise
    health.asked(agent, agent.provider)
    drafts.record("tested", agent, actor)


def _context(request: HttpRequest) -> dict[str, Any]:
    defaults.ensure()
    now, user = clock.now(), pages.user_of(request)
    owner_id = None if permissions.is_operator(user) else user.pk
    page = pages.page_of(agents.with_use(), request, ordering=BY_NAME)
    found = standing.of(page.rows, now=now)
    figures = health.figures(page.rows) if page.rows else {}
    spent = _spent(page.rows, owner_id=owner_id, now=now)
    fared = scores.of(page.rows, owner_id=owner_id)
    return {
        "now": now,
        "page": page,
        "is_operator": owner_id is None,
        "agents": [_row(one, figures, spent) | _fared(fared[one.agent.id]) for one in found],
        "used": sum(one.capacity.used for one in found),
        "room": sum(one.capacity.max for one in found),
    }


def _row(
    one: Standing,
    figures: dict[UUID, health.Figures],
    spent: dict[UUID | None, tuple[int, Decimal]],
) -> dict[str, Any]:
    of_agent = figures.get(one.agent.id)
    rate = None if of_agent is None else of_agent.success_rate
    tokens, usd = spent.get(one.agent.id, (0, Decimal(0)))
    return {
        "agent": one.agent,
        "state": one.state.value,
        "capacity": one.capacity,
        "success": None if rate is None else f"{100 * rate:.0f} %",
        "tokens": tokens,
        "usd": f"{usd:.2f}" if usd else "",
    }


def _fared(score: Score) -> dict[str, Any]:
    counted = [f"{number} {word}" for word, number in sorted(score.autonomy.items())]
    told = [f"{number} {word}" for word, number in score.others]
    if score.followed:
        told.append(f"{score.well} of {score.followed} next runs went well")
    return {"score": score, "autonomy": ", ".join(counted), "decided": ", ".join(told)}


def _spent(
    rows: Sequence[Agent], *, owner_id: int | None, now: datetime
) -> dict[UUID | None, tuple[int, Decimal]]:
    """Tokens and money of the last 24 hours, per agent; with `owner_id` only of that user's."""
    cycles = Cycle.objects.filter(
        agent_id__in=[one.id for one in rows], id__gte=ids.floor(now - LATELY)
    )
    if owner_id is not None:
        cycles = cycles.filter(owner_id=owner_id)
    counted = F("prompt_tokens") + F("completion_tokens")
    sums = cycles.values("agent_id").annotate(tokens=Sum(counted), usd=Sum("cost_usd"))
    return {one["agent_id"]: (one["tokens"], one["usd"]) for one in sums}
