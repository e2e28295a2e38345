"""Who is told about executions, over HTTP: channels, a test of them, and what became of notices."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app.alerting import channels, testing
from errors_app.api.alert_serializers import AlertChannelSerializer, AlertDeliverySerializer
from errors_app.api.alert_views import MEANINGS
from errors_app.models_alerts import AlertChannel, AlertDelivery, NoticeStatus
from executions_app import permissions
from executions_app.api import idempotent
from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet, WordsFilter


class DeliveryFilter(BoundedFilterSet):
    """Every name by which notices can be chosen."""

    by_index = BoundedFilterSet.by_index | {"channel_id", "alert_id"}

    status = WordsFilter(NoticeStatus)
    channel_id = filters.UUIDFilter()
    alert_id = filters.UUIDFilter()

    class Meta:
        model = AlertDelivery
        fields: list[str] = []


class ChannelView(ApiView[AlertChannel]):
    """Channels are the operators'."""

    rows = AlertChannel.objects.all()
    serializer_class = AlertChannelSerializer
    ordering_fields = ("created_at", "name")
    meanings = MEANINGS

    def get_queryset(self) -> QuerySet[AlertChannel]:
        if not getattr(self, "swagger_fake_view", False):
            permissions.check_operator(self.user, "see and change alert channels")
        return self.rows.all()

    def words(self) -> dict[str, Any]:
        computed = AlertChannelSerializer.Meta.read_only_fields
        return {name: value for name, value in self.body.items() if name not in computed}


class Channels(ChannelView):
    @extend_schema(operation_id="alert_channel_list", responses=AlertChannelSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Channels, the newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(operation_id="alert_channel_create", responses={201: AlertChannelSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Store a channel; rules that name no channel tell it, too."""
        permissions.check_operator(self.user, "make alert channels")
        channel = channels.create(self.words(), actor=self.actor)
        where = reverse("api:alert_channel", args=[channel.id])
        return self.answer(channel, status=201, Location=where)


class OneChannel(ChannelView):
    @extend_schema(operation_id="alert_channel_read")
    def get(self, _request: Request, channel_id: UUID) -> Response:
        """One channel, without its URL."""
        return self.answer(self.find(id=channel_id))

    @extend_schema(operation_id="alert_channel_change")
    def patch(self, _request: Request, channel_id: UUID) -> Response:
        """Change the fields that are given; without `url` that stays."""
        channel = self.find(id=channel_id)
        return self.answer(channels.change(channel.id, self.words(), actor=self.actor))

    @extend_schema(operation_id="alert_channel_delete", responses={204: None})
    def delete(self, _request: Request, channel_id: UUID) -> Response:
        """Tell it no more."""
        channels.remove(self.find(id=channel_id).id, actor=self.actor)
        return Response(status=204)


class TryChannel(ChannelView):
    @extend_schema(
        operation_id="alert_channel_test", request=None, responses={200: AlertDeliverySerializer}
    )
    @idempotent.once
    def post(self, _request: Request, channel_id: UUID) -> Response:
        """Send a test now; the answer says whether it arrived, and if not, why."""
        delivery = testing.send_test(self.find(id=channel_id), actor=self.actor)
        return Response(AlertDeliverySerializer(delivery).data)


class Deliveries(ApiView[AlertDelivery]):
    """Notices are the operators'."""

    rows = AlertDelivery.objects.all()
    serializer_class = AlertDeliverySerializer
    filterset_class = DeliveryFilter
    meanings = MEANINGS

    def get_queryset(self) -> QuerySet[AlertDelivery]:
        if not getattr(self, "swagger_fake_view", False):
            permissions.check_operator(self.user, "see all notices")
        return self.rows.all()

    @extend_schema(operation_id="alert_delivery_list", responses=AlertDeliverySerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Notices to channels and what became of them, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)
