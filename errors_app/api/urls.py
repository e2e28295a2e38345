"""Where errors of executions are found over HTTP."""

from __future__ import annotations

from typing import Any

from django.urls import path

from errors_app.api import (
    alert_views,
    breaker_views,
    channel_views,
    incident_views,
    recovery_views,
    views,
)

urlpatterns: list[Any] = [
    path("errors/errors", views.Errors.as_view()),
    path("errors/errors/<uuid:error_id>", views.OneError.as_view()),
    path("errors/errors/<uuid:error_id>/retry", views.RetryError.as_view()),
    path("errors/errors/<uuid:error_id>/resolve", views.ResolveError.as_view()),
    path("errors/errors/<uuid:error_id>/ignore", views.IgnoreError.as_view()),
    path("errors/errors/<uuid:error_id>/escalate", views.EscalateError.as_view()),
    path("errors/incidents", incident_views.Incidents.as_view()),
    path("errors/incidents/<uuid:incident_id>", incident_views.OneIncident.as_view()),
    path(
        "errors/incidents/<uuid:incident_id>/acknowledge",
        incident_views.AcknowledgeIncident.as_view(),
    ),
    path("errors/incidents/<uuid:incident_id>/ignore", incident_views.IgnoreIncident.as_view()),
    path("errors/incidents/<uuid:incident_id>/resolve", incident_views.ResolveIncident.as_view()),
    path("errors/incidents/<uuid:incident_id>/reopen", incident_views.ReopenIncident.as_view()),
    path("alerts", alert_views.Alerts.as_view()),
    path("alerts/rules", alert_views.Rules.as_view()),
    path("alerts/rules/<uuid:rule_id>", alert_views.OneRule.as_view(), name="alert_rule"),
    path("alerts/rules/<uuid:rule_id>/mute", alert_views.MuteRule.as_view()),
    path("alerts/channels", channel_views.Channels.as_view()),
    path(
        "alerts/channels/<uuid:channel_id>",
        channel_views.OneChannel.as_view(),
        name="alert_channel",
    ),
    path("alerts/channels/<uuid:channel_id>/test", channel_views.TryChannel.as_view()),
    path("alerts/deliveries", channel_views.Deliveries.as_view()),
    path("alerts/<uuid:alert_id>", alert_views.OneAlert.as_view()),
    path("alerts/<uuid:alert_id>/mute", alert_views.MuteAlert.as_view()),
    path("breakers", breaker_views.Breakers.as_view()),
    path("breakers/<uuid:breaker_id>", breaker_views.OneBreaker.as_view()),
    path("breakers/<uuid:breaker_id>/reset", breaker_views.ResetBreaker.as_view()),
    path("errors/recovery/start", recovery_views.StartRecovery.as_view()),
    path("errors/recovery/stop", recovery_views.StopRecovery.as_view()),
    path("errors/status", views.Status.as_view()),
    path("errors/dead-letters", views.DeadLetters.as_view()),
    path("errors/dead-letters/<uuid:letter_id>", views.OneDeadLetter.as_view(), name="dead_letter"),
    path("errors/dead-letters/<uuid:letter_id>/requeue", views.RequeueDeadLetter.as_view()),
    path("errors/dead-letters/<uuid:letter_id>/discard", views.DiscardDeadLetter.as_view()),
]
