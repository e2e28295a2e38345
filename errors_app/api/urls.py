"""Where errors of executions are found over HTTP."""

from __future__ import annotations

from typing import Any

from django.urls import path

from errors_app.api import views

urlpatterns: list[Any] = [
    path("errors/errors", views.Errors.as_view()),
    path("errors/errors/<uuid:error_id>", views.OneError.as_view()),
    path("errors/errors/<uuid:error_id>/retry", views.RetryError.as_view()),
    path("errors/errors/<uuid:error_id>/resolve", views.ResolveError.as_view()),
    path("errors/errors/<uuid:error_id>/ignore", views.IgnoreError.as_view()),
    path("errors/errors/<uuid:error_id>/escalate", views.EscalateError.as_view()),
    path("errors/status", views.Status.as_view()),
    path("errors/dead-letters", views.DeadLetters.as_view()),
    path("errors/dead-letters/<uuid:letter_id>/requeue", views.RequeueDeadLetter.as_view()),
    path("errors/dead-letters/<uuid:letter_id>/discard", views.DiscardDeadLetter.as_view()),
]
