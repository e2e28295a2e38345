"""Where what a cycle may use is found over HTTP; an agent's schedule is found from above."""

from __future__ import annotations

from typing import Any

from django.urls import path

from agents_app.api import (
    agent_views,
    approvals,
    credential_views,
    cycles,
    endpoint_health,
    endpoint_views,
    provider_views,
    remarks,
)

urlpatterns: list[Any] = [
    path("execution/executions/<str:execution_id>/steps", cycles.Steps.as_view()),
    path("agents", agent_views.Agents.as_view(), name="agents"),
    path("agents/<uuid:agent_id>", agent_views.OneAgent.as_view(), name="agent"),
    path("agents/<uuid:agent_id>/capacity", agent_views.AgentCapacity.as_view()),
    path("agents/<uuid:agent_id>/sessions", agent_views.Sessions.as_view()),
    path("agents/<uuid:agent_id>/messages", remarks.Messages.as_view()),
    path("agents/<uuid:agent_id>/messages/<uuid:remark_id>", remarks.OneMessage.as_view()),
    path("agents/<uuid:agent_id>/facts", remarks.Facts.as_view()),
    path("agents/<uuid:agent_id>/facts/<uuid:remark_id>", remarks.OneFact.as_view()),
    path("agents/approvals", approvals.Approvals.as_view(), name="plan_approvals"),
    path("agents/approvals/<uuid:approval_id>", approvals.OneApproval.as_view()),
    path("agents/approvals/<uuid:approval_id>/approve", approvals.Approve.as_view()),
    path("agents/approvals/<uuid:approval_id>/reject", approvals.Reject.as_view()),
    path("agents/providers", provider_views.Providers.as_view(), name="providers"),
    path(
        "agents/providers/<uuid:provider_id>",
        provider_views.OneProvider.as_view(),
        name="provider",
    ),
    path("agents/endpoints", endpoint_views.Endpoints.as_view(), name="endpoints"),
    path(
        "agents/endpoints/<uuid:endpoint_id>",
        endpoint_views.OneEndpoint.as_view(),
        name="endpoint",
    ),
    path("agents/endpoints/<uuid:endpoint_id>/health", endpoint_health.EndpointHealth.as_view()),
    path("agents/credentials", credential_views.Credentials.as_view(), name="credentials"),
    path(
        "agents/credentials/<uuid:credential_id>",
        credential_views.OneCredential.as_view(),
        name="credential",
    ),
]
