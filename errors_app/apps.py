"""What if: the app that recovers."""

from __future__ import annotations

from django.apps import AppConfig


class ErrorsConfig(AppConfig):
    name = "errors_app"
    verbose_name = "Errors"
