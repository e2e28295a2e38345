"""Where schedules and the scheduler are found over HTTP."""

from __future__ import annotations

from typing import Any

from django.urls import path

from scheduler_app.api import system_views, views

urlpatterns: list[Any] = [
    path("scheduler/schedules", views.Schedules.as_view(), name="schedules"),
    path("scheduler/schedules/<uuid:schedule_id>", views.OneSchedule.as_view(), name="schedule"),
    path("scheduler/schedules/<uuid:schedule_id>/trigger", views.Trigger.as_view()),
    path("scheduler/preview", system_views.Preview.as_view()),
    path("scheduler/start", system_views.Start.as_view()),
    path("scheduler/stop", system_views.Stop.as_view()),
    path("scheduler/status", system_views.Status.as_view()),
    path("scheduler/locks", system_views.Locks.as_view()),
    path("scheduler/locks/<str:execution_id>", system_views.OneLock.as_view()),
]
