"""What went wrong, in the admin: errors and dead letters, and the recovery of executions."""

from __future__ import annotations

import random
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from errors_app import admin_breakers as admin_breakers  # registers its pages
from errors_app import admin_incidents as admin_incidents  # registers its page
from errors_app import handling, rescuer
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, Severity
from executions_app.admin import ExecutionAdmin
from executions_app.admin_records import RecordAdmin, Rows, Since, act_on_each, one_of
from executions_app.audit import Actor
from executions_app.models import Execution
from executions_app.states import RecoveryStatus


@admin.register(Execution)
class RecoverableExecutionAdmin(ExecutionAdmin):
    actions: ClassVar[Any] = ("cancel", "retry", "release_lease")

    @admin.action(description="Retry (requeue what was given up)", permissions=["act"])
    def retry(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, handling.requeue_execution, done="requeued")

    @admin.action(description="Release the lease (the attempt counts as lost)", permissions=["act"])
    def release_lease(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _release, done="released")


@admin.register(ErrorRecord)
class ErrorRecordAdmin(RecordAdmin):
    list_display = (
        "ended_at", "name", "attempt", "error_class", "severity", "recovery_status",
        "message_shown",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (
        Since,
        one_of("recovery_status", RecoveryStatus),
        one_of("error_class", ErrorClass),
        one_of("severity", Severity),
    )
    search_fields = ("=fingerprint", "message", "exception_type")
    actions: ClassVar[Any] = ("retry", "resolve", "ignore", "escalate")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    @admin.display(description="name")
    def name(self, row: ErrorRecord) -> str:
        return str(row.context.get("name") or "")

    @admin.display(description="message")
    def message_shown(self, row: ErrorRecord) -> str:
        return row.message[:120]

    @admin.action(description="Retry", permissions=["act"])
    def retry(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, handling.retry, done="tried again")

    @admin.action(description="Resolve", permissions=["act"])
    def resolve(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, handling.resolve, done="resolved")

    @admin.action(description="Ignore", permissions=["act"])
    def ignore(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, handling.ignore, done="ignored")

    @admin.action(description="Escalate", permissions=["act"])
    def escalate(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, handling.escalate, done="escalated")


@admin.register(DeadLetter)
class DeadLetterAdmin(RecordAdmin):
    list_display = ("created_at", "name", "attempts", "error_class", "handling", "message")
    list_filter: ClassVar[Any] = (
        Since,
        ("handling", admin.EmptyFieldListFilter),
        one_of("error_class", ErrorClass),
    )
    search_fields = ("=execution_id", "message")
    actions: ClassVar[Any] = ("requeue", "discard")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    @admin.display(description="name")
    def name(self, row: DeadLetter) -> str:
        return str(row.payload.get("snapshot", {}).get("name", ""))

    @admin.action(description="Requeue", permissions=["act"])
    def requeue(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, handling.requeue, done="requeued")

    @admin.action(description="Discard", permissions=["act"])
    def discard(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, handling.discard, done="discarded")


def _release(execution: Execution, *, actor: Actor) -> None:
    rescuer.release(execution.id, actor=actor, rng=random.SystemRandom())
