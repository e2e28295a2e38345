"""Where schedules and the scheduler are found over HTTP."""

from __future__ import annotations

from typing import Any

from django.urls import path

from scheduler_app.api import (
    agent_views,
    backfill_views,
    bulk_views,
    cycle_views,
    decision_views,
    delivery_views,
    execution_views,
    foresight_views,
    limit_views,
    many_views,
    preview_views,
    system_views,
    token_views,
    views,
    webhook_views,
)

urlpatterns: list[Any] = [
    path("scheduler/schedules", views.Schedules.as_view(), name="schedules"),
    path("scheduler/schedules/pause", many_views.PauseMany.as_view()),
    path("scheduler/schedules/resume", many_views.ResumeMany.as_view()),
    path("scheduler/calendars", limit_views.Calendars.as_view(), name="calendars"),
    path(
        "scheduler/calendars/<uuid:calendar_id>",
        limit_views.OneCalendar.as_view(),
        name="calendar",
    ),
    path("scheduler/limits", limit_views.Limits.as_view(), name="limits"),
    path("scheduler/limits/<uuid:limit_id>", limit_views.OneLimit.as_view(), name="limit"),
    path("scheduler/schedules/<uuid:schedule_id>", views.OneSchedule.as_view(), name="schedule"),
    path("scheduler/schedules/<uuid:schedule_id>/stats", views.Stats.as_view()),
    path("scheduler/schedules/<uuid:schedule_id>/tokens", token_views.Tokens.as_view()),
    path("scheduler/schedules/<uuid:schedule_id>/trigger", views.Trigger.as_view()),
    path(
        "scheduler/schedules/<uuid:schedule_id>/webhook-secret",
        webhook_views.WebhookSecret.as_view(),
    ),
    path("scheduler/webhooks/<uuid:schedule_id>/deliveries", delivery_views.Deliveries.as_view()),
    path("webhooks/<str:trigger_id>", webhook_views.Webhook.as_view(), name="webhook"),
    path("scheduler/schedules/<uuid:schedule_id>/fires", foresight_views.Fires.as_view()),
    path("scheduler/schedules/<uuid:schedule_id>/why", foresight_views.Why.as_view()),
    *(
        path(f"scheduler/schedules/<uuid:schedule_id>/backfills{rest}", view.as_view(), name=name)
        for rest, view, name in (
            ("", backfill_views.Backfills, "backfills"),
            ("/<uuid:backfill_id>", backfill_views.OneBackfill, "backfill"),
            ("/<uuid:backfill_id>/pause", backfill_views.Pause, None),
            ("/<uuid:backfill_id>/resume", backfill_views.Resume, None),
            ("/<uuid:backfill_id>/abort", backfill_views.Abort, None),
        )
    ),
    path(
        "scheduler/schedules/<uuid:schedule_id>/decisions",
        decision_views.OfOneSchedule.as_view(),
    ),
    *(
        path(f"scheduler/decisions{rest}", view.as_view(), name=name)
        for rest, view, name in (
            ("", decision_views.Decisions, "decisions"),
            ("/<uuid:decision_id>", decision_views.OneDecision, "decision"),
            ("/<uuid:decision_id>/approve", decision_views.Approve, None),
            ("/<uuid:decision_id>/reject", decision_views.Reject, None),
            ("/<uuid:decision_id>/revert", decision_views.Revert, None),
        )
    ),
    path("execution/executions", execution_views.Executions.as_view(), name="executions"),
    path(
        "execution/executions/<str:execution_id>",
        execution_views.OneExecution.as_view(),
        name="execution",
    ),
    path("execution/executions/<str:execution_id>/cycle", cycle_views.OneCycle.as_view()),
    path("bulk-operations", bulk_views.BulkOperations.as_view(), name="bulk_operations"),
    path(
        "bulk-operations/<uuid:operation_id>",
        bulk_views.OneBulkOperation.as_view(),
        name="bulk_operation",
    ),
    path("bulk-operations/<uuid:operation_id>/abort", bulk_views.AbortBulkOperation.as_view()),
    path("agents/scheduled", agent_views.Scheduled.as_view()),
    path("agents/<uuid:agent_id>/schedule", agent_views.AgentSchedule.as_view()),
    path("scheduler/upcoming", foresight_views.Upcoming.as_view()),
    path("scheduler/lint", foresight_views.Lint.as_view()),
    path("scheduler/preview", preview_views.Preview.as_view()),
    path("scheduler/start", system_views.Start.as_view()),
    path("scheduler/stop", system_views.Stop.as_view()),
    path("scheduler/status", system_views.Status.as_view()),
    path("scheduler/locks", system_views.Locks.as_view()),
    path("scheduler/locks/<str:execution_id>", system_views.OneLock.as_view()),
]
