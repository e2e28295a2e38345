"""What AIs decided about next runs, in the admin: read, approved, rejected and reverted."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions_app.admin_records import RecordAdmin, Rows, Since, act_on_each, one_of
from executions_app.states import DecisionStatus
from executions_app.wording import iso
from scheduler_app import adoption, adoption_words, next_run_source
from scheduler_app.models import DecisionKind, Schedule, ScheduleDecision

SHOWN: Final = 5
WITHOUT_WORDS: Final = "rejected in the admin"


@admin.register(ScheduleDecision)
class ScheduleDecisionAdmin(RecordAdmin):
    list_display = (
        "created_at", "schedule_id", "kind", "change", "status", "source", "autonomy",
        "confidence", "expires_at",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (
        Since,
        one_of("status", DecisionStatus),
        one_of("kind", DecisionKind),
    )
    search_fields = ("=schedule_id", "=execution_id")
    actions: ClassVar[Any] = ("approve", "reject", "revert")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    @admin.display(description="what changes")
    def change(self, row: ScheduleDecision) -> str:
        return _change(row)

    @admin.action(description="Approve", permissions=["act"])
    def approve(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, adoption.approve, done="adopted")

    @admin.action(description="Reject", permissions=["act"])
    def reject(self, request: HttpRequest, rows: Rows) -> None:
        reject = partial(adoption.reject, reason=WITHOUT_WORDS)
        act_on_each(request, rows, reject, done="rejected")

    @admin.action(description="Revert", permissions=["act"])
    def revert(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, adoption.revert, done="reverted")


def source(schedule: Schedule) -> str:
    """Where the next run of a schedule comes from."""
    if schedule._state.adding:  # noqa: SLF001  the form of one that is not stored yet
        return "-"
    decided = next_run_source.decisions([schedule])
    return next_run_source.words(schedule, decided.get(schedule.id))


def latest(schedule: Schedule) -> SafeString | str:
    """The newest decisions about a schedule, each with what became of it."""
    rows = ScheduleDecision.objects.filter(schedule_id=schedule.id).order_by("-id")
    found = [] if schedule._state.adding else list(rows[:SHOWN])  # noqa: SLF001  as above
    if not found:
        return "none"
    lines = format_html_join(
        "",
        '<tr><td class="pr-4 align-top whitespace-nowrap"><a href="{}">{}</a></td>'
        '<td class="pr-4 align-top whitespace-nowrap">{}</td>'
        '<td class="pr-4 align-top">{}</td><td>{}</td></tr>',
        (
            (
                reverse("approval", args=[one.id]),
                iso(one.created_at),
                one.status,
                _change(one),
                one.refusal or one.reason,
            )
            for one in found
        ),
    )
    return format_html("<table>{}</table>", lines)


def _change(decision: ScheduleDecision) -> str:
    change = adoption_words.change(decision)
    if change.at is None:
        return "nothing"
    return f"{'pause until' if change.is_pause else 'next run'} {iso(change.at)}"
