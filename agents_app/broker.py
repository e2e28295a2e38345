"""This process' own connection to the Redis lists in which messages stand, beside Celery's."""

from __future__ import annotations

from functools import cache
from typing import Final

import redis
from django.conf import settings

from config.env import env

WEB_SECONDS: Final = 1.0  # a request is answered within two, whatever Redis does
OTHER_SECONDS: Final = 2.0


@cache
def broker() -> redis.Redis:
    """The broker, with bounded waits; threads may share it."""
    return redis.Redis.from_url(
        settings.REDIS_BROKER_URL,
        socket_timeout=WEB_SECONDS if env.cadenza_role == "web" else OTHER_SECONDS,
        socket_connect_timeout=1,
        health_check_interval=15,
        retry=None,
    )
