"""Bulk operations on executions and other rows, in the admin: to look at, and to abort."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from executions_app.admin_records import RecordAdmin, Rows, Since, act_on_each, one_of
from executions_app.audit import Actor
from executions_app.states import BulkStatus
from scheduler_app.bulk import operations
from scheduler_app.models import BulkOperation
from scheduler_app.models_bulk import BulkVerb


@admin.register(BulkOperation)
class BulkOperationAdmin(RecordAdmin):
    list_display = (
        "created_at", "verb", "filter", "status", "done", "refused", "total", "owner", "ended_at",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (Since, one_of("status", BulkStatus), one_of("verb", BulkVerb))
    list_select_related = ("owner",)
    search_fields = ("=id",)
    actions: ClassVar[Any] = ("abort",)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    @admin.action(description="Abort (what is done stays done)", permissions=["act"])
    def abort(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _abort, done="aborted")


def _abort(operation: BulkOperation, *, actor: Actor) -> None:
    operations.abort(operation.id, actor=actor)
