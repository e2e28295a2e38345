"""Where the pages of schedules are found."""

from __future__ import annotations

from typing import Any

from django.urls import path

from scheduler_app import pages

urlpatterns: list[Any] = [path("", pages.overview, name="overview")]
