"""What the AI of an execution decided, decided once more of what is stored: a page to read."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from agents_app.replay import recorded
from agents_app.replay.recorded import NothingToReplay
from executions_app import clock, ownership, pages
from executions_app.models import Execution
from scheduler_app import replayed


@require_safe
@pages.signed_in
def replay(request: HttpRequest, execution_id: UUID) -> HttpResponse:
    """`/executions/ID/replay`: for whoever may see the execution; asks and changes nothing."""
    mine = ownership.visible_to(pages.user_of(request), Execution.objects.defer("result"))
    execution = get_object_or_404(mine, id=execution_id)
    cycle = recorded.cycle_named(execution.id)
    if cycle is None:
        raise Http404
    context = {
        "now": clock.now(),
        "execution": execution,
        "name": str(execution.snapshot.get("name") or "unnamed"),
    }
    try:
        context["replay"] = replayed.of_cycle(cycle)
    except NothingToReplay as error:
        context["nothing"] = str(error)
    return render(request, "scheduler_app/replay.html", context)
