"""This process' own connection to the Redis lists in which messages stand, beside Celery's."""

from __future__ import annotations

from functools import cache

import redis
from django.conf import settings


@cache
def broker() -> redis.Redis:
    """The broker, with bounded waits; threads may share it."""
    return redis.Redis.from_url(
        settings.REDIS_BROKER_URL,
        socket_timeout=2,
        socket_connect_timeout=1,
        health_check_interval=15,
        retry=None,
    )
