"""What happened: the app that records it."""

from __future__ import annotations

from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "executions_app"
    verbose_name = "Executions"
