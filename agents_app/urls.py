"""Where the page of agents, which carry out cycles, is found."""

from __future__ import annotations

from typing import Any

from django.urls import path

from agents_app import pages

urlpatterns: list[Any] = [
    path("agents", pages.listing, name="agents"),
    path("agents/<uuid:agent_id>/<str:verb>", pages.decide, name="agent_decide"),
]
