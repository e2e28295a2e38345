"""Where executions are found over HTTP; what they are is shown from above, where more is known."""

from __future__ import annotations

from typing import Any

from django.urls import path

from executions_app.api import process_views, views

urlpatterns: list[Any] = [
    path("execution/executions/<str:execution_id>/progress", views.Progress.as_view()),
    path("execution/executions/<str:execution_id>/cancel", views.Cancel.as_view()),
    path("execution/executions/<str:execution_id>/abort", views.Cancel.as_view()),
    path("processes", process_views.Processes.as_view()),
]
