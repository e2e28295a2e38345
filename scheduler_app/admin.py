"""When, in the admin: schedules, their fires, the state of the whole, maintenance jobs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat import admin as beat_admin
from django_celery_beat import models as beat_models
from unfold.admin import ModelAdmin

from executions_app.admin_records import RecordAdmin, Rows, Since, act_on_each, one_of
from executions_app.audit import Actor
from executions_app.models import SystemState
from executions_app.states import Priority
from scheduler_app import admin_agents as admin_agents  # registers its pages
from scheduler_app import admin_alerts as admin_alerts  # registers its pages
from scheduler_app import admin_bulk as admin_bulk  # registers its page
from scheduler_app import admin_decisions, admin_fires, policy_words, schedules, system
from scheduler_app import admin_events as admin_events  # registers its pages
from scheduler_app import admin_executions as admin_executions  # registers its page
from scheduler_app import admin_limits as admin_limits  # registers its pages
from scheduler_app import admin_remarks as admin_remarks  # registers its page
from scheduler_app.admin_doors import DoorAdmin
from scheduler_app.admin_form import ScheduleForm
from scheduler_app.admin_trigger import TriggersByForm
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.policies import FireReason

COMPUTED = (
    "owner", "id", "next_run_at", "last_run_at", "last_success_at", "last_status", "run_count",
    "success_count", "failure_count", "consecutive_failures", "missed_count", "fired_count",
    "paused_at", "anchor_at",
    "created_at", "updated_at",
)  # fmt: skip


@admin.register(Schedule)
class ScheduleAdmin(TriggersByForm, DoorAdmin):
    """Create, edit and delete go through `schedules`, as from every other door."""

    form = ScheduleForm
    list_display = (
        "name", "enabled", "when", "task_type", "priority", "next_run_at", "last_status", "owner",
    )  # fmt: skip
    list_filter: ClassVar[Any] = ("enabled", one_of("priority", Priority), Since)
    list_select_related = ("owner",)
    search_fields = ("name", "task_type", "=id")
    readonly_fields = (*COMPUTED, "last_fires", "next_run_source", "decisions")
    fieldsets = (
        ("What", {"fields": ("name", "task_type", "task_config", "priority", "timeout_ms")}),
        (
            "When",
            {
                "fields": (
                    "trigger_type", "schedule_type", "schedule_config", "timezone",
                    "trigger_config", "start_at", "end_at", "max_runs",
                )
            },
        ),
        (
            "When not, and how much later",
            {
                "fields": (
                    "execution_window", "calendar", "outside_window", "jitter_ms", "spread_ms",
                )
            },
        ),
        ("Switch", {"fields": ("enabled", "paused_until", "pause_reason")}),
        (
            "Policies",
            {
                "fields": (
                    "overlap_policy", "catchup_policy", "catchup_limit", "catchup_window_ms",
                    "retry_policy", "run_ttl_ms", "pause_after_failures",
                )
            },
        ),
        (
            "How much at once",
            {
                "fields": (
                    "buffer_limit", "max_concurrent", "limit_key", "unique_key", "unique_mode",
                    "unique_for_ms",
                )
            },
        ),
        ("Why its last fires did or did not run", {"fields": ("last_fires",)}),
        ("What the AI decided", {"fields": ("next_run_source", "decisions")}),
        ("State", {"fields": (*COMPUTED, "version")}),
    )  # fmt: skip
    actions: ClassVar[Any] = ("trigger", "enable", "disable")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    @admin.display(description="fires")
    def last_fires(self, row: Schedule) -> str:
        return admin_fires.last_fires(row)

    @admin.display(description="its next run is")
    def next_run_source(self, row: Schedule) -> str:
        return admin_decisions.source(row)

    @admin.display(description="decisions")
    def decisions(self, row: Schedule) -> str:
        return admin_decisions.latest(row)

    @admin.display(description="when")
    def when(self, row: Schedule) -> str:
        return policy_words.starts(row)

    def save_model(
        self, request: HttpRequest, obj: Schedule, form: ScheduleForm, change: Any
    ) -> None:
        actor = Actor.of(request.user)
        if change:
            version = form.cleaned_data["version"]
            stored = schedules.update(obj.id, form.definition, actor=actor, version=version)
        else:
            owner_id = request.user.pk
            assert owner_id is not None
            stored = schedules.create(form.definition, owner_id=owner_id, actor=actor)
        # The admin goes on with the row it was given: its log and its redirect name this one.
        obj.__dict__.update(stored.__dict__)

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        schedules.delete(obj.id, actor=Actor.of(request.user))

    @admin.action(description="Trigger now", permissions=["act"])
    def trigger(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, schedules.trigger, done="triggered")

    @admin.action(description="Enable", permissions=["act"])
    def enable(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _enable, done="enabled")

    @admin.action(description="Disable", permissions=["act"])
    def disable(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _disable, done="disabled")


@admin.register(FireRecord)
class FireRecordAdmin(RecordAdmin):
    list_display = (
        "nominal_at", "schedule_id", "reason", "count", "nominal_until", "lateness_ms",
        "execution_id",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (Since, one_of("reason", FireReason))
    search_fields = ("=schedule_id", "=execution_id")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(schedule_id__in=Schedule.objects.filter(owner_id=user_id).values("id"))


@admin.register(SystemState)
class SystemStateAdmin(RecordAdmin):
    list_display = (
        "status", "scheduler_running", "error_recovery_running", "scheduler_last_tick_at",
        "problem",
    )  # fmt: skip
    actions: ClassVar[Any] = ("start_dispatch", "stop_dispatch")

    @admin.action(description="Start dispatch", permissions=["act"])
    def start_dispatch(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _start, done="started")

    @admin.action(description="Stop dispatch", permissions=["act"])
    def stop_dispatch(self, request: HttpRequest, rows: Rows) -> None:
        act_on_each(request, rows, _stop, done="stopped")


def _enable(schedule: Schedule, *, actor: Actor) -> None:
    schedules.enable(schedule.id, actor=actor)


def _disable(schedule: Schedule, *, actor: Actor) -> None:
    schedules.disable(schedule.id, actor=actor)


def _start(_state: SystemState, *, actor: Actor) -> None:
    system.start(actor)


def _stop(_state: SystemState, *, actor: Actor) -> None:
    system.stop(actor)


def _with_the_look_of_the_rest() -> None:
    """Register the maintenance jobs' own admin pages again, styled as all others."""
    for model, its_admin in (
        (beat_models.PeriodicTask, beat_admin.PeriodicTaskAdmin),
        (beat_models.IntervalSchedule, beat_admin.IntervalScheduleAdmin),
        (beat_models.CrontabSchedule, beat_admin.CrontabScheduleAdmin),
        (beat_models.SolarSchedule, beat_admin.SolarScheduleAdmin),
        (beat_models.ClockedSchedule, beat_admin.ClockedScheduleAdmin),
    ):
        admin.site.unregister(model)
        admin.site.register(model, type(its_admin.__name__, (ModelAdmin, its_admin), {}))


_with_the_look_of_the_rest()
