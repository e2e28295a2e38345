"""The wiring as an app: what a process connects when it starts, before its first execution."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

from config.env import env


class WiringConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Connect the error tracker, in the processes that run all the time.

        Its library is imported only where it is used: no other start has to wait for it.
        """
        if env.sentry_dsn and env.cadenza_role.startswith(("web", "beat", "worker")):
            import_module("config.tracking").begin(env)
