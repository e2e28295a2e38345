"""Alerts about executions over HTTP: what is firing, and what is looked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app.alerting import raising, rules
from errors_app.alerting.definitions import Invalid
from errors_app.api.alert_serializers import (
    AlertRuleSerializer,
    AlertSerializer,
    AlertWithNoticesSerializer,
    MuteSerializer,
)
from errors_app.models_alerts import Alert, AlertKind, AlertRule, AlertStatus
from errors_app.taxonomy import Severity
from executions_app import encryption, permissions
from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet, WordsFilter
from executions_app.api.problem import Problem


def gone(error: Exception) -> Problem:
    return Problem(404, "not_found", str(error))


def no_keys(error: Exception) -> Problem:
    return Problem(409, "no_keys", str(error))


MEANINGS: problem.Meanings = {
    Invalid: problem.misfitting,
    rules.Unknown: gone,
    encryption.NoKeys: no_keys,
    permissions.OperatorNeeded: problem.operator_needed,
}


class AlertFilter(BoundedFilterSet):
    """Every name by which alerts can be chosen."""

    by_index = BoundedFilterSet.by_index | {"rule_id"}

    status = WordsFilter(AlertStatus)
    severity = WordsFilter(Severity)
    kind = WordsFilter(AlertKind)
    rule_id = filters.UUIDFilter()
    schedule_id = filters.UUIDFilter()

    class Meta:
        model = Alert
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        """Of those that are firing there are few, and an index of their own."""
        if name == "status":
            return AlertStatus.RESOLVED not in value
        return super().is_by_index(name, value)


def until(request: Request) -> datetime | None:
    """The instant of a request to mute; None to end that."""
    given = MuteSerializer(data=request.data)
    given.is_valid(raise_exception=True)
    instant: datetime | None = given.validated_data["until"]
    return instant


class AlertView(ApiView[Alert]):
    """Owners see alerts about theirs; operators see all."""

    rows = Alert.objects.all()
    serializer_class = AlertSerializer
    ordering_fields = ("created_at",)
    meanings = MEANINGS

    def get_queryset(self) -> QuerySet[Alert]:
        is_theirs = not getattr(self, "swagger_fake_view", False)
        if is_theirs and permissions.is_operator(self.user):
            return self.rows.all()
        return super().get_queryset()


class Alerts(AlertView):
    filterset_class = AlertFilter

    @extend_schema(operation_id="alert_list", responses=AlertSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Alerts, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class OneAlert(AlertView):
    serializer_class = AlertWithNoticesSerializer

    @extend_schema(operation_id="alert_read", responses=AlertWithNoticesSerializer)
    def get(self, _request: Request, alert_id: UUID) -> Response:
        """One alert, with the notices about it."""
        return self.answer(self.find(id=alert_id))


class MuteAlert(AlertView):
    @extend_schema(operation_id="alert_mute", request=MuteSerializer, responses=AlertSerializer)
    @idempotent.once
    def post(self, request: Request, alert_id: UUID) -> Response:
        """Tell nobody about it, or about the same again, until then."""
        alert = self.find(id=alert_id)
        return self.answer(raising.mute(alert.id, until=until(request), actor=self.actor))


class RuleView(ApiView[AlertRule]):
    """Everybody reads the rules about all and about theirs; operators change them."""

    rows = AlertRule.objects.all()
    serializer_class = AlertRuleSerializer
    ordering_fields = ("created_at", "name")
    meanings = MEANINGS

    def get_queryset(self) -> QuerySet[AlertRule]:
        if getattr(self, "swagger_fake_view", False) or permissions.is_operator(self.user):
            return self.rows.all()
        return self.rows.filter(Q(owner_id=self.user.pk) | Q(owner_id=None, schedule_id=None))

    def words(self) -> dict[str, Any]:
        computed = AlertRuleSerializer.Meta.read_only_fields
        return {name: value for name, value in self.body.items() if name not in computed}


class Rules(RuleView):
    @extend_schema(operation_id="alert_rule_list", responses=AlertRuleSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Rules, the newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(operation_id="alert_rule_create", responses={201: AlertRuleSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Store a rule; it is looked for from the next round on."""
        permissions.check_operator(self.user, "make alert rules")
        rule = rules.create(self.words(), actor=self.actor)
        where = reverse("api:alert_rule", args=[rule.id])
        return self.answer(rule, status=201, Location=where)


class OneRule(RuleView):
    @extend_schema(operation_id="alert_rule_read")
    def get(self, _request: Request, rule_id: UUID) -> Response:
        """One rule."""
        return self.answer(self.find(id=rule_id))

    @extend_schema(operation_id="alert_rule_change")
    def patch(self, _request: Request, rule_id: UUID) -> Response:
        """Change the fields that are given; `parameters` are replaced as a whole."""
        permissions.check_operator(self.user, "change alert rules")
        rule = self.find(id=rule_id)
        return self.answer(rules.change(rule.id, self.words(), actor=self.actor))

    @extend_schema(operation_id="alert_rule_delete", responses={204: None})
    def delete(self, _request: Request, rule_id: UUID) -> Response:
        """Look for it no more; its open alerts end."""
        permissions.check_operator(self.user, "remove alert rules")
        rules.remove(self.find(id=rule_id).id, actor=self.actor)
        return Response(status=204)


class MuteRule(RuleView):
    @extend_schema(operation_id="alert_rule_mute", request=MuteSerializer)
    @idempotent.once
    def post(self, request: Request, rule_id: UUID) -> Response:
        """Look on, and tell nobody until then."""
        permissions.check_operator(self.user, "mute alert rules")
        rule = self.find(id=rule_id)
        return self.answer(rules.mute(rule.id, until=until(request), actor=self.actor))
