"""Where the pages about what goes wrong with executions are found."""

from __future__ import annotations

from typing import Any

from django.urls import path

from errors_app import endpoint_pages, incident_pages

urlpatterns: list[Any] = [
    path("endpoints", endpoint_pages.endpoints, name="endpoints"),
    path("endpoints/<uuid:breaker_id>/reset", endpoint_pages.reset, name="endpoint_reset"),
    path("incidents", incident_pages.incidents, name="incidents"),
    path("incidents/<uuid:incident_id>", incident_pages.incident, name="incident"),
    path("incidents/<uuid:incident_id>/<str:verb>", incident_pages.decide, name="incident_decide"),
]
