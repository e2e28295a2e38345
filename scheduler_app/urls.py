"""Where the pages of schedules are found."""

from __future__ import annotations

from typing import Any

from django.urls import path

from scheduler_app import cycle_pages, decision_pages, pages, replay_pages

urlpatterns: list[Any] = [
    path("", pages.overview, name="overview"),
    path("approvals", decision_pages.approvals, name="approvals"),
    path("approvals/<uuid:decision_id>", decision_pages.approval, name="approval"),
    path("approvals/<uuid:decision_id>/<str:verb>", decision_pages.decide, name="approval_decide"),
    path("executions/<uuid:execution_id>/cycle", cycle_pages.cycle, name="cycle"),
    path("executions/<uuid:execution_id>/retry", cycle_pages.retry, name="cycle_retry"),
    path("executions/<uuid:execution_id>/replay", replay_pages.replay, name="replay"),
]
