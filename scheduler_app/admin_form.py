"""The admin's form of a schedule: its fields are the words, `definition.parse` is the judge."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from django import forms
from unfold import widgets

from agents_app.handlers import registry
from executions_app.states import Priority
from scheduler_app import definition
from scheduler_app.definition import Definition, InvalidDefinition, Problem
from scheduler_app.models import Schedule
from scheduler_app.policies import CatchupPolicy, OverlapPolicy, TriggerType

SCHEDULE_TYPES: Final = ("cron", "interval", "one_time")


def _text(label: str, initial: str = "", *, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        initial=initial,
        required=False,
        help_text=help_text,
        widget=widgets.UnfoldAdminTextInputWidget(),
    )


def _number(label: str, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=False,
        help_text=help_text,
        widget=widgets.UnfoldAdminIntegerFieldWidget(),
    )


def _json(label: str, help_text: str) -> forms.JSONField:
    return forms.JSONField(
        label=label,
        required=False,
        help_text=help_text,
        widget=widgets.UnfoldAdminTextareaWidget(),
    )


def _one_of(label: str, values: type[StrEnum], initial: StrEnum) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=label,
        choices=[(one.value, one.value) for one in values],
        initial=initial.value,
        required=False,
        widget=widgets.UnfoldAdminSelectWidget(),
    )


def _task_types() -> list[tuple[str, str]]:
    return [(name, name) for name in registry.task_types()]


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Leaves the row alone: what it understood is in `definition`, for `schedules` to store."""

    name = _text("Name")
    trigger_type = _one_of("Trigger", TriggerType, TriggerType.TIME_BASED)
    schedule_type = forms.ChoiceField(
        label="Kind of schedule",
        choices=[("", "none"), *((one, one) for one in SCHEDULE_TYPES)],
        initial="cron",
        required=False,
        widget=widgets.UnfoldAdminSelectWidget(),
    )
    schedule_config = _json(
        "When",
        '{"cron": "0 9 * * *"}, {"every": "30 minutes"} or {"run_at": "2026-12-01T09:00:00Z"}',
    )
    timezone = _text("Time zone", "UTC", help_text="IANA name, such as Europe/Berlin")
    task_type = forms.ChoiceField(
        label="Task type", choices=_task_types, widget=widgets.UnfoldAdminSelectWidget()
    )
    task_config = _json("Task config", '{"command": ["echo", "hello"]}, {"url": "https://..."}')
    priority = _one_of("Priority", Priority, Priority.NORMAL)
    enabled = forms.BooleanField(
        initial=True, required=False, widget=widgets.UnfoldBooleanSwitchWidget()
    )
    paused_until = forms.SplitDateTimeField(
        required=False, widget=widgets.UnfoldAdminSplitDateTimeWidget(), help_text="UTC"
    )
    pause_reason = _text("Reason of the pause")
    timeout_ms = _number("Time limit (ms)", "empty: EXECUTION_TIMEOUT_SECONDS")
    overlap_policy = _one_of("When the last run still runs", OverlapPolicy, OverlapPolicy.SKIP)
    catchup_policy = _one_of("Missed fires", CatchupPolicy, CatchupPolicy.LATEST)
    catchup_limit = _number("Most missed fires to run", "for 'all', from 1 to 100")
    catchup_window_ms = _number("Missed fires are too old after (ms)", "empty: never")
    retry_policy = _json("Retry policy", '{"max_retries": 3}; what is left out has its default')
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
