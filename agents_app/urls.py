"""Where the pages of agents, which carry out cycles, and of plans that wait are found."""

from __future__ import annotations

from typing import Any

from django.urls import path

from agents_app import pages, plan_pages, remark_pages

urlpatterns: list[Any] = [
    path("agents", pages.listing, name="agents"),
    path("agents/<uuid:agent_id>/messages", remark_pages.remarks_of, name="agent_remarks"),
    path(
        "agents/<uuid:agent_id>/messages/<uuid:remark_id>/remove",
        remark_pages.remove,
        name="agent_remark_remove",
    ),
    path("agents/<uuid:agent_id>/<str:verb>", pages.decide, name="agent_decide"),
    path("approvals/plans", plan_pages.plans, name="plans"),
    path("approvals/plans/<uuid:approval_id>", plan_pages.plan, name="plan"),
    path("approvals/plans/<uuid:approval_id>/<str:verb>", plan_pages.decide, name="plan_decide"),
]
