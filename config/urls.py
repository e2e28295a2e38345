"""Which URL leads where; errors under `/api` are problem documents, whoever raises them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from config import health, metrics

api: list[Any] = [
    path("", include("scheduler_app.api.urls")),
    path("", include("executions_app.api.urls")),
    path("", include("agents_app.api.urls")),
    path("", include("errors_app.api.urls")),
    path("health", health.Health.as_view()),
    path("health/live", health.Live.as_view()),
    path("health/ready", health.Ready.as_view()),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
]
urlpatterns: list[Any] = [
    path("api/", include((api, "api"))),
    path("admin/", admin.site.urls),
    path("metrics", metrics.Metrics.as_view()),
    path("", include("scheduler_app.urls")),
    path("", include("agents_app.urls")),
    path("", include("errors_app.urls")),
]
handler400 = "executions_app.api.problems.bad_request"
handler403 = "executions_app.api.problems.forbidden"
handler404 = "executions_app.api.problems.not_found"
handler500 = "executions_app.api.problems.server_error"
