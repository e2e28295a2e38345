"""When: the app that decides it."""

from __future__ import annotations

from django.apps import AppConfig


class SchedulerConfig(AppConfig):
    name = "scheduler_app"
    verbose_name = "Schedules"
