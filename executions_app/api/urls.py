"""Where executions are found over HTTP; one alone is shown from above, where limits are known."""

from __future__ import annotations

from typing import Any

from django.urls import path

from executions_app.api import process_views, views

urlpatterns: list[Any] = [
    path("execution/executions", views.Executions.as_view(), name="executions"),
    path("execution/executions/<str:execution_id>/progress", views.Progress.as_view()),
    path("execution/executions/<str:execution_id>/cancel", views.Cancel.as_view()),
    path("execution/executions/<str:execution_id>/abort", views.Cancel.as_view()),
    path("processes", process_views.Processes.as_view()),
]
