"""What waits for a person's yes or no: proposals of the AI and plans, counted for whoever is asked.

The number stands beside *Approvals* on every page, and on the Overview.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Final

from django.contrib.auth.models import AbstractUser
from django.http import HttpRequest

from agents_app.models import PlanApproval
from executions_app import ownership
from executions_app.states import ApprovalStatus, DecisionStatus
from scheduler_app.models import ScheduleDecision

MOST_COUNTED: Final = 1_000


def wanted(user: AbstractUser) -> int:
    """How many answers this person may give; only what is open is looked at."""
    proposals = ScheduleDecision.objects.filter(status=DecisionStatus.PROPOSED)
    plans = PlanApproval.objects.filter(status=ApprovalStatus.WAITING)
    asked, more = (
        ownership.visible_to(user, rows).order_by().values("id") for rows in (proposals, plans)
    )
    return asked.union(more, all=True)[:MOST_COUNTED].count()


def badge(request: HttpRequest) -> dict[str, Any]:
    """For templates: `answers_wanted`, counted where it is shown, once for all places."""
    user = getattr(request, "user", None)
    if not isinstance(user, AbstractUser):
        return {}
    return {"answers_wanted": cache(partial(wanted, user))}
