"""How: the app that carries out executions."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "agents_app"
    verbose_name = "Agents"

    def ready(self) -> None:
        import_module("agents_app.checks")
