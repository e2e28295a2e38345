"""Endpoints that executions call, in the admin: their breakers, to be reset, and what became."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from errors_app.breakers import handling
from errors_app.breakers.store import StoreAway
from errors_app.models import Breaker, BreakerTransition
from executions_app import permissions
from executions_app.admin_records import RecordAdmin, Rows, Since, act_on_each, one_of
from executions_app.audit import Actor
from executions_app.states import BreakerStatus, SchedulerException


class EndpointAdmin(RecordAdmin):
    """Endpoints are nobody's; whoever may look at them here sees them all."""

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:  # noqa: ARG002  they have no owner
        return rows


@admin.register(Breaker)
class BreakerAdmin(EndpointAdmin):
    """Every state is that of the last transition; `/api/breakers` asks Redis as well."""

    list_display = ("key", "state", "since", "next_probe_at", "reason", "opened_count", "seen_at")
    list_filter: ClassVar[Any] = (one_of("state", BreakerStatus),)
    search_fields = ("key",)
    actions: ClassVar[Any] = ("reset",)

    @admin.action(description="Reset (calls go out again)", permissions=["act"])
    def reset(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _reset, done="reset")

    def has_act_permission(self, request: HttpRequest) -> bool:
        return permissions.is_operator(request.user)


@admin.register(BreakerTransition)
class BreakerTransitionAdmin(EndpointAdmin):
    list_display = (
        "at", "key", "from_state", "to_state", "reason", "failures", "calls", "worker",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (Since, one_of("to_state", BreakerStatus))
    search_fields = ("key", "worker")


def _reset(breaker: Breaker, *, actor: Actor) -> None:
    try:
        handling.reset(breaker, actor=actor)
    except StoreAway as error:
        raise SchedulerException(str(error)) from error
