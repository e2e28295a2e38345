"""Where executions are found over HTTP."""

from __future__ import annotations

from typing import Any

from django.urls import path

from executions_app.api import views

urlpatterns: list[Any] = [
    path("execution/executions", views.Executions.as_view(), name="executions"),
    path("execution/executions/<str:execution_id>", views.OneExecution.as_view(), name="execution"),
    path("execution/executions/<str:execution_id>/progress", views.Progress.as_view()),
    path("execution/executions/<str:execution_id>/cancel", views.Cancel.as_view()),
    path("execution/executions/<str:execution_id>/abort", views.Cancel.as_view()),
]
