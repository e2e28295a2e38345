"""What has been delivered to a webhook and what came of it, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet
from scheduler_app.api.foresight_views import OfSchedule
from scheduler_app.models import WebhookDelivery

EXAMPLE = {
    "id": "0195f2c0-33cc-7000-8000-2d3e4f5a6b7c",
    "schedule_id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b",
    "delivery_id": "evt-7",
    "execution_id": None,
    "reason": "not_matched",
    "received_at": "2026-12-01T09:00:00Z",
}


@extend_schema_serializer(
    examples=[OpenApiExample("one that its filter did not admit", value=EXAMPLE)]
)
class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """A delivery that has been taken, by the id that its sender gave it."""

    reason = serializers.CharField(
        help_text="why it started nothing: not_matched, or the reason of its fire record; or empty"
    )

    class Meta:
        model = WebhookDelivery
        fields = list(EXAMPLE)


class DeliveryFilter(BoundedFilterSet):
    """Every name by which the deliveries of a webhook can be chosen."""

    by_index = frozenset({"delivery_id"})

    delivery_id = filters.CharFilter(help_text="the whole id that its sender gave it")
    execution_id = filters.UUIDFilter()
    reason = filters.CharFilter(help_text="the whole reason")

    class Meta:
        model = WebhookDelivery
        fields: list[str] = []


class Deliveries(ApiView[WebhookDelivery]):
    rows = WebhookDelivery.objects.all()
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        if getattr(self, "swagger_fake_view", False):
            return self.rows.none()
        return self.rows.filter(schedule_id=self.kwargs["schedule_id"])

    @extend_schema(operation_id="webhook_deliveries", responses=DeliverySerializer(many=True))
    def get(self, request: Request, schedule_id: UUID) -> Response:
        """The deliveries that a webhook has taken in the last 30 days, the newest first."""
        OfSchedule.of(self, schedule_id)
        chosen: Any = self.filter_queryset(self.get_queryset())
        if "delivery_id" not in request.query_params and "deliveryId" not in request.query_params:
            # No index has them in the order of the list: so many are looked through for a page.
            self.looked_through = self.rows.all()
        page = self.paginate_queryset(chosen)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)
