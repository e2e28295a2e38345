"""What is wrong around executions, in the admin: alerts, rules, channels, notices, processes.

It stands on the top floor because its forms are those of this floor's doors.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold import widgets

from errors_app.alerting import channels, rules, testing
from errors_app.alerting.definitions import (
    ChannelDefinition,
    Invalid,
    RuleDefinition,
    parse_channel,
    parse_rule,
)
from errors_app.models_alerts import (
    Alert,
    AlertChannel,
    AlertDelivery,
    AlertKind,
    AlertRound,
    AlertRule,
    AlertStatus,
    NoticeStatus,
)
from errors_app.taxonomy import Severity
from executions_app import permissions
from executions_app.admin_records import RecordAdmin, Rows, Since, act_on_each, one_of
from executions_app.audit import Actor
from executions_app.models import Process, ProcessKind
from executions_app.states import SchedulerException
from scheduler_app import admin_fields
from scheduler_app.admin_doors import DoorAdmin
from scheduler_app.admin_fields import json_field, number, text


class NotSent(SchedulerException):
    """A test did not arrive."""


class AlertingForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Leaves the row alone: `words` are what the operations are to be told."""

    names: ClassVar[tuple[str, ...]] = ()

    @property
    def words(self) -> dict[str, Any]:
        given = {name: self.cleaned_data.get(name) for name in self.names}
        return {name: value for name, value in given.items() if value not in (None, "")}

    def judge(self) -> None:
        """Raise Invalid for words that make none."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        if not self.errors:
            try:
                self.judge()
            except Invalid as error:
                for one in error.problems:
                    field, *inner = one.path
                    message = ": ".join([*inner, one.message])
                    self.add_error(field if field in self.fields else None, message)
        return self.cleaned_data

    def _post_clean(self) -> None:
        """Nothing: the row is not written here, and its words have been judged already."""


class RuleForm(AlertingForm):
    names = tuple(RuleDefinition.model_fields)
    name = text("Name")
    kind = admin_fields.one_of("Looks for", AlertKind, AlertKind.FAILURE_RATE)
    parameters = json_field("Parameters", "as the kind has them; empty: its defaults")
    schedule_id = text("Schedule", help_text="an id; empty: all")
    owner_id = number("Owner", "the number of an account; empty: everybody's")
    severity = admin_fields.one_of("Severity", Severity, Severity.MEDIUM)
    channels = json_field("Channels", '["on call"]; empty: every channel')

    class Meta:
        model = AlertRule
        fields = list(RuleDefinition.model_fields)
        widgets: ClassVar[Any] = {"enabled": widgets.UnfoldBooleanSwitchWidget()}

    @property
    def words(self) -> dict[str, Any]:
        """An emptied field is not one that was left out: it stands for all, or for the defaults."""
        emptied: dict[str, Any] = dict.fromkeys(("schedule_id", "owner_id"))
        emptied |= {"channels": [], "parameters": {}}
        return {**emptied, **super().words}

    def judge(self) -> None:
        parse_rule(self.words)


class ChannelForm(AlertingForm):
    names = tuple(ChannelDefinition.model_fields)
    name = text("Name")
    url = forms.CharField(
        label="URL",
        required=False,
        help_text="as Apprise takes it, or the word log; never shown again; empty: as it is",
        widget=widgets.UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
    )
    min_severity = admin_fields.one_of("From severity", Severity, Severity.LOW)

    class Meta:
        model = AlertChannel
        fields = ("name", "enabled", "min_severity")
        widgets: ClassVar[Any] = {"enabled": widgets.UnfoldBooleanSwitchWidget()}

    def judge(self) -> None:
        kept = {} if self.instance._state.adding else {"url": channels.LOG}  # noqa: SLF001  Django's
        parse_channel({**kept, **self.words})


class OperatorsAdmin(DoorAdmin):
    """Only operators see and change these; `operations` are the module that does."""

    operations: ClassVar[Any]

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:  # noqa: ARG002  they have no owner
        return rows

    def has_act_permission(self, request: HttpRequest) -> bool:
        return permissions.is_operator(request.user)

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: Any) -> None:
        actor = Actor.of(request.user)
        if change:
            stored = self.operations.change(obj.pk, form.words, actor=actor)
        else:
            stored = self.operations.create(form.words, actor=actor)
        obj.__dict__.update(stored.__dict__)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self.operations.remove(obj.pk, actor=Actor.of(request.user))


@admin.register(AlertRule)
class AlertRuleAdmin(OperatorsAdmin):
    form = RuleForm
    operations: ClassVar[Any] = rules
    list_display = ("name", "kind", "severity", "enabled", "muted_until", "problem")
    list_filter: ClassVar[Any] = ("enabled", one_of("kind", AlertKind))
    search_fields = ("name",)
    readonly_fields = ("id", "muted_until", "problem", "version", "created_at", "updated_at")


@admin.register(AlertChannel)
class AlertChannelAdmin(OperatorsAdmin):
    form = ChannelForm
    operations: ClassVar[Any] = channels
    list_display = ("name", "kind", "min_severity", "enabled", "updated_at")
    search_fields = ("name",)
    readonly_fields = ("id", "kind", "version", "created_at", "updated_at")
    fields = ("name", "url", "min_severity", "enabled", *readonly_fields)
    actions: ClassVar[Any] = ("send_test",)

    @admin.action(description="Send a test", permissions=["act"])
    def send_test(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _test, done="tests sent")


@admin.register(Alert)
class AlertAdmin(RecordAdmin):
    list_display = (
        "first_seen_at", "status", "severity", "rule_name", "message", "count", "resolved_at",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (
        Since, one_of("status", AlertStatus), one_of("severity", Severity),
        one_of("kind", AlertKind),
    )  # fmt: skip
    search_fields = ("message", "=schedule_id")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(RecordAdmin):
    list_display = ("created_at", "channel_name", "event", "status", "attempts", "error", "sent_at")
    list_filter: ClassVar[Any] = (Since, one_of("status", NoticeStatus))
    search_fields = ("=alert_id", "channel_name")


@admin.register(AlertRound)
class AlertRoundAdmin(RecordAdmin):
    list_display = ("looked_at", "looked_by")


@admin.register(Process)
class ProcessAdmin(RecordAdmin):
    list_display = (
        "name", "kind", "pid", "queues", "started_at", "seen_at", "stopped_at", "refused_claims",
        "refused_writes",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (one_of("kind", ProcessKind),)
    search_fields = ("name",)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:  # noqa: ARG002  they have no owner
        return rows


def _test(channel: AlertChannel, *, actor: Actor) -> None:
    delivery = testing.send_test(channel, actor=actor)
    if delivery.status != NoticeStatus.SENT:
        raise NotSent(f"was not sent: {delivery.error}")
