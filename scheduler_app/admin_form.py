"""The admin's form of a schedule: its fields are the words, `definition.parse` is the judge."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from unfold import widgets

from agents_app.handlers import registry
from executions_app.states import Priority
from scheduler_app import definition
from scheduler_app.admin_fields import instant, json_field, number, one_of, text
from scheduler_app.definition import Definition, InvalidDefinition, Problem
from scheduler_app.models import Schedule, UniqueMode
from scheduler_app.policies import CatchupPolicy, OutsideWindow, OverlapPolicy, TriggerType

SCHEDULE_TYPES: Final = ("cron", "interval", "one_time")


def _task_types() -> list[tuple[str, str]]:
    return [(name, name) for name in registry.task_types()]


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Leaves the row alone: what it understood is in `definition`, for `schedules` to store."""

    name = text("Name")
    trigger_type = one_of("Trigger", TriggerType, TriggerType.TIME_BASED)
    schedule_type = forms.ChoiceField(
        label="Kind of schedule",
        choices=[("", "none"), *((one, one) for one in SCHEDULE_TYPES)],
        initial="cron",
        required=False,
        widget=widgets.UnfoldAdminSelectWidget(),
    )
    schedule_config = json_field(
        "When",
        '{"cron": "0 9 * * *"}, {"every": "30 minutes"} or {"run_at": "2026-12-01T09:00:00Z"}',
    )
    timezone = text("Time zone", "UTC", help_text="IANA name, such as Europe/Berlin")
    task_type = forms.ChoiceField(
        label="Task type", choices=_task_types, widget=widgets.UnfoldAdminSelectWidget()
    )
    task_config = json_field(
        "Task config", '{"command": ["echo", "hello"]}, {"url": "https://..."}'
    )
    priority = one_of("Priority", Priority, Priority.NORMAL)
    enabled = forms.BooleanField(
        initial=True, required=False, widget=widgets.UnfoldBooleanSwitchWidget()
    )
    paused_until = instant("Paused until")
    pause_reason = text("Reason of the pause")
    timeout_ms = number("Time limit (ms)", "empty: EXECUTION_TIMEOUT_SECONDS")
    overlap_policy = one_of("When the last run still runs", OverlapPolicy, OverlapPolicy.SKIP)
    catchup_policy = one_of("Missed fires", CatchupPolicy, CatchupPolicy.LATEST)
    catchup_limit = number("Most missed fires to run", "for 'all', from 1 to 100")
    catchup_window_ms = number("Missed fires are too old after (ms)", "empty: never")
    retry_policy = json_field(
        "Retry policy", '{"max_retries": 3}; what is left out has its default'
    )
    trigger_config = json_field(
        "What starts it",
        'event_driven: {"source": "internal", "event": "execution:failed"}; '
        'dependent: {"upstreams": ["nightly report"], "on": "success", "mode": "any"}',
    )
    start_at = instant("No fire before")
    end_at = instant("No fire after")
    max_runs = number("Finished after so many runs", "empty: never")
    execution_window = json_field(
        "Execution window", '{"hours": ["09:00-17:00"], "weekdays": ["mon", "fri"]}; empty: always'
    )
    calendar = text("Business calendar", help_text="name or id; empty: none")
    outside_window = one_of("Outside of these", OutsideWindow, OutsideWindow.SKIP)
    jitter_ms = number("Jitter (ms)", "each fire starts so much later at most")
    spread_ms = number("Spread (ms)", "all fires start later by one part of this")
    buffer_limit = number("Most that wait", "for 'buffer_all'; empty: 100")
    run_ttl_ms = number("Dropped if not started after (ms)", "empty: never")
    pause_after_failures = number("Pauses itself after so many failures in a row", "empty: never")
    max_concurrent = number("Most at once", "for overlap 'allow'; empty: any number")
    limit_key = text("Limit key", help_text="such as tenant:{tenant}")
    unique_key = text("Unique key", help_text="such as order:{order_id}; empty: not unique")
    unique_mode = one_of("Unique", UniqueMode, UniqueMode.WHILE_ACTIVE)
    unique_for_ms = number("Unique for (ms)", "for 'for_time' and 'debounce'")
    version = forms.IntegerField(required=False, widget=forms.HiddenInput())

    class Meta:
        model = Schedule
        fields = [*Definition.model_fields, "version"]

    definition: Definition

    def clean(self) -> dict[str, Any]:
        """Let `definition.parse` judge the words once each of them could be read."""
        words = self.cleaned_data
        if not self.errors:
            given = {
                name: words[name]
                for name in Definition.model_fields
                if words.get(name) not in (None, "")
            }
            try:
                self.definition = definition.parse(given)
            except InvalidDefinition as error:
                for problem in error.problems:
                    self._show(problem)
        return words

    def _show(self, problem: Problem) -> None:
        field, *inner = problem.path or ("",)
        message = f"{'.'.join(inner)}: {problem.message}" if inner else problem.message
        self.add_error(field if field in self.fields else None, message)

    def _post_clean(self) -> None:
        """Nothing: the row is not written here, and its words have been judged already."""
