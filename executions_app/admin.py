"""What happened, in the admin: executions, steps, events, audit, sessions, tokens, accounts.

Executions and the system's state are registered by the apps above, which add the actions that
need their knowledge: recovery in `errors_app.admin`, start and stop in `scheduler_app.admin`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from executions_app import clock, lifecycle, tokens, wording
from executions_app.admin_records import (
    RecordAdmin,
    Rows,
    Since,
    act_on_each,
    one_of,
)
from executions_app.api.filters import held
from executions_app.commands import as_uuid
from executions_app.models import (
    AuditEntry,
    Event,
    Execution,
    OutcomeInbox,
    Step,
    WebSocketSession,
)
from executions_app.models_api import ApiToken, IdempotencyKey
from executions_app.states import ExecutionStatus, Outcome, Priority, StepStatus, Trigger


class HeldBy(admin.SimpleListFilter):
    """Executions that wait, by the beginning of what they wait for."""

    title = "held by"
    parameter_name = "held_by"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("limit:", "a limit"),
            ("rate:", "a rate"),
            ("unique:", "work of its key"),
            ("overlap:", "others of its schedule"),
        ]

    def queryset(self, _request: HttpRequest, rows: Rows) -> Rows:
        chosen = self.value()
        return rows if chosen is None else held(rows, chosen)


class ExecutionAdmin(RecordAdmin):
    """Executions, with why each is where it is."""

    list_display = (
        "number", "name", "status", "outcome", "trigger", "priority", "tries", "progress_shown",
        "due_at", "started_at", "completed_at",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (
        Since,
        one_of("status", ExecutionStatus),
        one_of("outcome", Outcome),
        one_of("trigger", Trigger),
        one_of("priority", Priority),
        HeldBy,
    )
    search_fields = ("number",)
    search_help_text = "number, id, id of the schedule, or a name"
    actions: ClassVar[Any] = ("cancel",)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    def get_fields(self, _request: HttpRequest, _row: Execution | None = None) -> list[str]:
        columns = Execution._meta.concrete_fields  # noqa: SLF001  Django's documented name for it
        return ["why", "progress_shown", *(one.name for one in columns)]

    def get_search_results(self, _request: HttpRequest, rows: Rows, term: str) -> tuple[Rows, bool]:
        term = term.strip()
        number, one = term.removeprefix("#"), as_uuid(term)
        if not term:
            return rows, False
        if number.isdecimal() and len(number) <= 18:
            return rows.filter(number=int(number)), False
        if one is not None:
            return rows.filter(id=one) | rows.filter(schedule_id=one), False
        return rows.filter(snapshot__name__icontains=term), False

    @admin.display(description="name")
    def name(self, row: Execution) -> str:
        return str(row.snapshot.get("name", ""))

    @admin.display(description="tries")
    def tries(self, row: Execution) -> str:
        return f"{row.attempt} of {row.max_attempts}"

    @admin.display(description="progress")
    def progress_shown(self, row: Execution) -> str:
        done = wording.percent(row)
        step = row.progress.get("current_step", "")
        return "" if done is None else f"{done} % {step}".strip()

    @admin.display(description="why it is there")
    def why(self, row: Execution) -> str:
        return wording.why(row, now=clock.now())

    @admin.action(description="Cancel", permissions=["act"])
    def cancel(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, lifecycle.cancel, done="cancelled or asked to stop")


@admin.register(Step)
class StepAdmin(RecordAdmin):
    list_display = ("name", "execution_id", "position", "status", "attempt", "started_at")
    list_filter: ClassVar[Any] = (Since, one_of("status", StepStatus))
    search_fields = ("=execution_id", "name")


@admin.register(Event)
class EventAdmin(RecordAdmin):
    list_display = ("type", "topic", "severity", "created_at")
    list_filter: ClassVar[Any] = (Since,)
    search_fields = ("=topic", "=type")
    search_help_text = "the whole topic (execution:<id>) or the whole type (execution:failed)"

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)


@admin.register(OutcomeInbox)
class OutcomeInboxAdmin(RecordAdmin):
    list_display = ("execution_id", "schedule_id", "status", "outcome", "completed_at")


@admin.register(AuditEntry)
class AuditEntryAdmin(RecordAdmin):
    list_display = ("created_at", "actor", "action", "object_type", "object_id", "note")
    list_filter: ClassVar[Any] = (Since,)
    search_fields = ("=object_id", "=actor", "=action")


@admin.register(WebSocketSession)
class WebSocketSessionAdmin(RecordAdmin):
    list_display = ("user", "client", "connected_at", "last_ping_at", "closed_at", "close_code")
    list_filter: ClassVar[Any] = (Since, ("closed_at", admin.EmptyFieldListFilter))
    list_select_related = ("user",)
    search_fields = ("user__username", "client")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(user_id=user_id)


@admin.register(ApiToken)
class ApiTokenAdmin(RecordAdmin):
    """Tokens by their first characters; made by the API and by `manage.py token create`."""

    list_display = ("name", "prefix", "user", "expires_at", "last_used_at", "revoked_at")
    list_filter: ClassVar[Any] = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    exclude = ("token_hash",)
    actions: ClassVar[Any] = ("revoke",)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(user_id=user_id)

    @admin.action(description="Revoke", permissions=["act"])
    def revoke(self, request: HttpRequest, rows: Rows) -> None:
        revoke = partial(tokens.revoke, now=clock.now())
        act_on_each(request, rows, revoke, done="revoked")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(RecordAdmin):
    """Requests that are done only once; their answers may hold secrets and are not shown."""

    list_display = ("request", "key", "user", "response_status", "created_at")
    list_filter: ClassVar[Any] = (Since,)
    list_select_related = ("user",)
    search_fields = ("=key", "user__username")
    exclude = ("response_body", "response_headers")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(user_id=user_id)


admin.site.unregister((User, Group))


@admin.register(User)
class AccountAdmin(UserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]  # unfold has no types
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class RoleAdmin(GroupAdmin, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    pass
