"""Is the house standing: what load balancers, supervisors and people ask before any execution.

Open without authentication, so it names parts and says nothing about what they hold. Workers are
not pinged: a busy worker is not a dead one, and the leases tell the difference.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connection
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions_app import clock, migrated
from executions_app.models import SystemState
from scheduler_app import queues

TICK_OVERDUE: Final = timedelta(seconds=15)
OK: Final = "ok"
FAILING: Final = "failing"
RETRY_AFTER_SECONDS: Final = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the house; `age_ms` is that of beat's last tick."""

    status: str
    detail: str = ""
    latency_ms: float | None = None
    age_ms: int | None = None


def database() -> Part:
    """PostgreSQL answers."""
    started = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError) as error:
        logger.warning("PostgreSQL does not answer: %s", error)
        return Part(FAILING, "PostgreSQL does not answer")
    return Part(OK, latency_ms=_since(started))


def migrations() -> Part:
    """All migrations are applied; asked until it was so once."""
    try:
        names = migrated.missing()
    except (DatabaseError, InterfaceError):
        return Part(FAILING, "not known: PostgreSQL does not answer")
    return Part(FAILING, migrated.told(names)) if names else Part(OK)


def redis() -> Part:
    """Redis answers."""
    started = time.perf_counter()
    try:
        with queues.asking() as client:
            client.ping()
    except queues.BrokerAway as error:
        logger.warning("%s", error)
        return Part(FAILING, "Redis does not answer")
    return Part(OK, latency_ms=_since(started))


def beat() -> Part:
    """A beat looked at the clock lately."""
    try:
        last_tick_at = SystemState.objects.get().scheduler_last_tick_at
        now = clock.now()
    except (DatabaseError, InterfaceError, SystemState.DoesNotExist):
        return Part(FAILING, "its last tick is not known")
    if last_tick_at is None:
        return Part(FAILING, "it has never ticked")
    age = now - last_tick_at
    age_ms = max(0, age // timedelta(milliseconds=1))
    if age > TICK_OVERDUE:
        return Part(FAILING, "its last tick is overdue: nothing is dispatched", age_ms=age_ms)
    return Part(OK, age_ms=age_ms)


def needed_for_requests() -> dict[str, Part]:
    """What the web process cannot do without.

    Not Redis: without it requests are answered and their work is sent later. Were it asked for
    here, a balancer would take all web processes away because of it.
    """
    parts = {"database": database()}
    is_known = parts["database"].status == OK
    unknown = Part(FAILING, "not known: PostgreSQL does not answer")
    return parts | {"migrations": migrations() if is_known else unknown}


def everything() -> dict[str, Part]:
    """All parts; beat's tick stands in the database, which is waited for only once."""
    parts = {"database": database(), "redis": redis()}
    is_known = parts["database"].status == OK
    parts["beat"] = beat() if is_known else Part(FAILING, "its last tick is not known")
    return parts


def nothing() -> dict[str, Part]:
    """That an answer comes at all is the answer."""
    return {}


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)


class PartSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField([OK, FAILING])
    detail = serializers.CharField()
    latency_ms = serializers.FloatField(allow_null=True)
    age_ms = serializers.IntegerField(allow_null=True, help_text="of beat's last tick")


class HealthSerializer(serializers.Serializer[Any]):
    """The whole is as healthy as its parts."""

    status = serializers.ChoiceField([OK, FAILING])
    parts = serializers.DictField(child=PartSerializer())


class Health(APIView):
    """All parts."""

    authentication_classes = []
    permission_classes = [AllowAny]
    look: Callable[[], dict[str, Part]] = staticmethod(everything)

    @extend_schema(
        responses={
            200: HealthSerializer,
            503: OpenApiResponse(HealthSerializer, "A part is failing"),
        }
    )
    def get(self, _request: Request) -> Response:
        """Whether the parts of the system stand."""
        found = type(self).look()
        is_well = all(part.status == OK for part in found.values())
        return Response(
            {
                "status": OK if is_well else FAILING,
                "parts": {name: asdict(part) for name, part in found.items()},
            },
            status=200 if is_well else 503,
            headers={"Cache-Control": "no-store"}
            | ({} if is_well else {"Retry-After": str(RETRY_AFTER_SECONDS)}),
        )


class Ready(Health):
    """What is needed to take requests: PostgreSQL, with all migrations applied."""

    look = staticmethod(needed_for_requests)


class Live(Health):
    """This process answers; nothing else is asked, so that it is not restarted for others."""

    look = staticmethod(nothing)
