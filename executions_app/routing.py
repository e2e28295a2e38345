"""Where the live feed is found."""

from __future__ import annotations

from typing import Any

from django.urls import path

from executions_app.consumers import LiveConsumer

websocket_urlpatterns: list[Any] = [path("ws", LiveConsumer.as_asgi())]
