"""What the AI did in one execution: tier, stages, plan, steps over time, calls and decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from agents_app import cycle_story, plan_story
from agents_app.cycle import approval_rows
from agents_app.cycle_story import Story
from errors_app import handling
from errors_app.models import DeadLetter
from executions_app import clock, ownership, pages, wording
from executions_app.audit import Actor
from executions_app.models import Execution, Step
from executions_app.states import StepStatus
from scheduler_app import adoption_words, gantt
from scheduler_app.api.cycle_views import decision_of
from scheduler_app.gantt import Bar

LIKE: Final = {"planned": "pending", "skipped": "cancelled"}
"""The sign of an execution's state for those states that only steps have."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as a line: its bar, how long it took, and what the plan said about it."""

    step: Step
    looks_like: str
    bar: Bar
    took: str
    why: str


@require_safe
@pages.signed_in
def cycle(request: HttpRequest, execution_id: UUID) -> HttpResponse:
    """`/executions/ID/cycle`: the AI's part of an execution; 404 where no AI had one."""
    name = "cycle_live" if pages.is_fragment(request) else "cycle"
    user, now = pages.user_of(request), clock.now()
    mine = ownership.visible_to(user, Execution.objects.defer("result"))
    execution = get_object_or_404(mine, id=execution_id)
    story = cycle_story.of_execution(execution.id)
    if story is None:
        raise Http404
    context = {
        "now": now,
        "execution": execution,
        "name": str(execution.snapshot.get("name") or "unnamed"),
        "why": wording.why(execution, now=now),
        "asked": plan_story.sentence(execution, now=now),
        "approval": approval_rows.latest(execution.id),
        "story": story,
        "steps": _steps(story, now=now),
        "width": gantt.WIDTH,
        "stages": _stages(story),
        "plan_reason": _plan(story).get("reason", ""),
        "plan_confidence": _plan(story).get("confidence"),
        **_decision(story),
        "can_retry": DeadLetter.objects.filter(execution_id=execution.id, handling="").exists(),
        "kept": sum(one.status == StepStatus.COMPLETED for one in story.steps),
        "links_executions": user.is_staff and admin.site.is_registered(Execution),
    }
    return render(request, f"scheduler_app/{name}.html", context)


@require_POST
@pages.signed_in
def retry(request: HttpRequest, execution_id: UUID) -> HttpResponse:
    """Try an execution again that was given up; what ended well in it is not called again."""
    user = pages.user_of(request)
    mine = ownership.visible_to(user, Execution.objects.all())
    execution = get_object_or_404(mine, id=execution_id)
    pages.carried_out(
        request,
        lambda: handling.requeue_execution(execution, actor=Actor.of(user)),
        done="It is tried again, from the steps that did not end well",
    )
    return pages.back(request, otherwise=reverse("cycle", args=[execution.id]))


def _plan(story: Story) -> dict[str, Any]:
    return story.cycle.plan if isinstance(story.cycle.plan, dict) else {}


def _stages(story: Story) -> list[tuple[str, str]]:
    return [
        (one["name"], wording.duration(timedelta(milliseconds=one["duration_ms"])))
        for one in story.stages
    ]


def _steps(story: Story, *, now: datetime) -> list[StepRow]:
    times = [gantt.Timed(one.queued_at, one.started_at, one.completed_at) for one in story.steps]
    planned = _plan(story).get("steps") or []
    reasons = {str(one.get("id")): str(one.get("reason", "")) for one in planned}
    return [
        StepRow(
            step=one,
            looks_like=LIKE.get(one.status, one.status),
            bar=bar,
            took="" if bar.took is None else wording.duration(bar.took),
            why=reasons.get(one.name, ""),
        )
        for one, bar in zip(story.steps, gantt.draw(times, now=now), strict=True)
    ]


def _decision(story: Story) -> dict[str, Any]:
    decision = decision_of(story)
    if decision is None:
        return {"decision": None}
    return {"decision": decision, "row": {"change": adoption_words.change(decision)}}
