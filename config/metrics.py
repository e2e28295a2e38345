"""`/metrics`: what Prometheus is told of executions, schedules, errors and the AI. For operators.

The only module that knows all of it, and nothing knows this one but the URLs: leave its line out
there, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from agents_app import metrics as agents
from errors_app import metrics as errors
from executions_app import clock, permissions
from executions_app import metrics as executions
from scheduler_app import metrics as schedules


class Everything(Collector):
    """All families, read anew at each scrape."""

    def collect(self) -> Iterator[Metric]:
        now = clock.now()
        for part in (executions, schedules, errors, agents):
            yield from part.families(now)


class OperatorsOnly(BasePermission):
    """The numbers are of everybody's work."""

    message = "Only operators may read metrics: give Prometheus the personal token of one"

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return permissions.is_operator(request.user)


class Metrics(APIView):
    """The metrics of the whole installation, in Prometheus' text format."""

    permission_classes = [OperatorsOnly]

    @extend_schema(exclude=True)
    def get(self, _request: Request) -> HttpResponse:
        """All families as of now."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Everything())
        answer = HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
        answer["Cache-Control"] = "no-store"
        return answer
