"""Incidents in the admin: which executions fail alike, and what people decide about them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from errors_app.incidents import deciding, trends
from errors_app.models import Incident, IncidentBucket
from errors_app.taxonomy import ErrorClass, Severity
from executions_app import clock
from executions_app.admin_records import RecordAdmin, Rows, act_on_each, one_of
from executions_app.states import IncidentStatus


@admin.register(Incident)
class IncidentAdmin(RecordAdmin):
    ordering = ("-last_seen_at",)
    list_display = (
        "last_seen_at", "name", "title", "error_class", "severity", "status", "count",
        "reopened_count",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (
        one_of("status", IncidentStatus),
        one_of("error_class", ErrorClass),
        one_of("severity", Severity),
    )
    search_fields = ("=fingerprint", "title", "name")
    readonly_fields = ("trend",)
    actions: ClassVar[Any] = ("acknowledge", "ignore", "resolve", "reopen")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    @admin.display(description="errors in the last 24 hours")
    def trend(self, row: Incident) -> str:
        found = trends.of([row.id], now=clock.now()).get(row.id, trends.NONE)
        return f"{found.direction}: {' '.join(str(number) for number in found.hours)}"

    @admin.action(description="Acknowledge", permissions=["act"])
    def acknowledge(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, deciding.acknowledge, done="acknowledged")

    @admin.action(description="Ignore", permissions=["act"])
    def ignore(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, deciding.ignore, done="ignored")

    @admin.action(description="Resolve", permissions=["act"])
    def resolve(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, deciding.resolve, done="resolved")

    @admin.action(description="Reopen", permissions=["act"])
    def reopen(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, deciding.reopen, done="opened again")


@admin.register(IncidentBucket)
class IncidentBucketAdmin(RecordAdmin):
    """The hours that a trend is made of."""

    list_display = ("hour", "incident_id", "count")
    search_fields = ("=incident_id",)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(incident_id__in=Incident.objects.filter(owner_id=user_id).values("id"))
