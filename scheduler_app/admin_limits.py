"""When not and how much at most, in the admin: calendars, limits, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from pydantic import BaseModel
from unfold import widgets

from executions_app.admin_records import RecordAdmin, Rows, Since, one_of
from executions_app.audit import Actor
from scheduler_app import calendars
from scheduler_app.admin_doors import DoorAdmin
from scheduler_app.admin_fields import json_field, number, text
from scheduler_app.calendars import CalendarDefinition
from scheduler_app.definition import InvalidDefinition
from scheduler_app.limiting import limits
from scheduler_app.limiting.limits import LimitDefinition
from scheduler_app.models import (
    Backfill,
    BusinessCalendar,
    DependencyMark,
    Limit,
    RateBucket,
    Schedule,
    UniqueWork,
    WebhookDelivery,
)
from scheduler_app.models_sources import BackfillStatus


class WordsForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Leaves the row alone: what it understood is in `definition`, for the operations to store."""

    definition: Any
    judged_by: ClassVar[type[BaseModel]]

    def parse(self, words: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        words = self.cleaned_data
        if not self.errors:
            names = self.judged_by.model_fields
            given = {name: words[name] for name in names if words.get(name) not in (None, "")}
            try:
                self.definition = self.parse(given)
            except InvalidDefinition as error:
                for problem in error.problems:
                    field, *inner = problem.path
                    message = ": ".join([*inner, problem.message])
                    self.add_error(field if field in self.fields else None, message)
        return words

    def _post_clean(self) -> None:
        """Nothing: the row is not written here, and its words have been judged already."""


class CalendarForm(WordsForm):
    judged_by = CalendarDefinition
    name = text("Name")
    timezone = text("Time zone", "UTC", help_text="IANA name, such as Europe/Berlin")
    weekend = json_field("Closed on", '["sat", "sun"]; [] for a week without weekend')
    holidays = json_field("Holidays", '[{"date": "2026-12-25", "name": "Christmas Day"}]')
    blackouts = json_field(
        "Blackouts",
        '[{"from": "2026-12-24T18:00:00Z", "to": "2026-12-27T06:00:00Z", "reason": "audit"}]',
    )
    version = forms.IntegerField(required=False, widget=forms.HiddenInput())

    class Meta:
        model = BusinessCalendar
        fields = [*CalendarDefinition.model_fields, "version"]

    def parse(self, words: Mapping[str, Any]) -> CalendarDefinition:
        return calendars.parse(words)


class LimitForm(WordsForm):
    judged_by = LimitDefinition
    key = text("Key", help_text=limits.KEY_HELP)
    max_concurrent = number("Most at once", "empty: any number; 0: nothing starts")
    rate_count = number("Most starts")
    rate_period_ms = number("in so many milliseconds")
    note = text("Note")

    class Meta:
        model = Limit
        fields = list(LimitDefinition.model_fields)
        widgets: ClassVar[Any] = {"note": widgets.UnfoldAdminTextInputWidget()}

    def parse(self, words: Mapping[str, Any]) -> LimitDefinition:
        return limits.parse({"key": self.instance.key, **words})  # of a change page it stays


@admin.register(BusinessCalendar)
class BusinessCalendarAdmin(DoorAdmin):
    form = CalendarForm
    list_display = ("name", "timezone", "weekend", "owner", "updated_at")
    list_select_related = ("owner",)
    search_fields = ("name", "=id")
    readonly_fields = ("owner", "id", "created_at", "updated_at")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    def save_model(
        self, request: HttpRequest, obj: BusinessCalendar, form: CalendarForm, change: Any
    ) -> None:
        actor = Actor.of(request.user)
        if change:
            stored = calendars.update(
                obj.id, form.definition, actor=actor, version=form.cleaned_data["version"]
            )
        else:
            owner_id = request.user.pk
            assert owner_id is not None
            stored = calendars.create(form.definition, owner_id=owner_id, actor=actor)
        obj.__dict__.update(stored.__dict__)

    def delete_model(self, request: HttpRequest, obj: BusinessCalendar) -> None:
        calendars.delete(obj.id, actor=Actor.of(request.user))


@admin.register(Limit)
class LimitAdmin(DoorAdmin):
    """Everybody's: only administrators see and change them here."""

    form = LimitForm
    list_display = ("key", "max_concurrent", "rate_count", "rate_period_ms", "note", "updated_at")
    search_fields = ("key",)
    readonly_fields = ("id", "version", "created_at", "updated_at")

    def get_readonly_fields(self, _request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The key of a limit stays."""
        return self.readonly_fields if obj is None else ("key", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Limit, form: LimitForm, _change: Any) -> None:
        stored, _ = limits.put(form.definition, actor=Actor.of(request.user))
        obj.__dict__.update(stored.__dict__)

    def delete_model(self, request: HttpRequest, obj: Limit) -> None:
        limits.remove(obj.key, actor=Actor.of(request.user))


@admin.register(Backfill)
class BackfillAdmin(RecordAdmin):
    list_display = (
        "schedule_id", "range_from", "range_until", "status", "made", "total", "max_concurrent",
        "owner",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (Since, one_of("status", BackfillStatus))
    list_select_related = ("owner",)
    search_fields = ("=schedule_id", "=id")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)


@admin.register(UniqueWork)
class UniqueWorkAdmin(RecordAdmin):
    list_display = ("key", "execution_id", "until", "owner_id", "created_at")
    list_filter: ClassVar[Any] = (Since,)
    search_fields = ("key", "=execution_id")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)


class OfScheduleAdmin(RecordAdmin):
    """Records that belong to whom their schedule belongs to."""

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(schedule_id__in=Schedule.objects.filter(owner_id=user_id).values("id"))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OfScheduleAdmin):
    list_display = ("received_at", "schedule_id", "delivery_id", "execution_id")
    list_filter: ClassVar[Any] = (Since,)
    search_fields = ("=schedule_id", "=delivery_id", "=execution_id")


@admin.register(DependencyMark)
class DependencyMarkAdmin(OfScheduleAdmin):
    list_display = ("marked_at", "schedule_id", "upstream_id", "execution_id")
    search_fields = ("=schedule_id", "=upstream_id", "=execution_id")


@admin.register(RateBucket)
class RateBucketAdmin(RecordAdmin):
    ordering = ("key",)
    list_display = ("key", "tokens", "refreshed_at")
    search_fields = ("key",)
