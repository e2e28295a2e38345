"""The words of a schedule, checked: what REST, admin, commands and the demo hand in.

`parse` is the only way to a Definition from outside; it names every problem at once, each with the
path of its field, so that nothing is stored by halves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from agents_app import agent_config
from agents_app.handlers import registry
from config.env import env
from errors_app.backoff import RetryPolicy
from executions_app.states import Priority, SchedulerException
from scheduler_app import next_run, windows
from scheduler_app.models import Schedule, UniqueMode
from scheduler_app.policies import CatchupPolicy, OutsideWindow, OverlapPolicy, TriggerType
from scheduler_app.sources import config as sources

A_KEY: Final = "[key]"  # pydantic's mark in the path of a key that it refuses
DAY_MS: Final = 86_400_000
MOST_HOURS: Final = 24  # spans of one window
LASTING: Final = frozenset({UniqueMode.FOR_TIME, UniqueMode.DEBOUNCE})
TEMPLATE: Final = re.compile(
    r"(?:[^{}\x00-\x1f]|\{[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*\})*"
)
ANY_ANCHOR: Final = datetime(2000, 1, 1, tzinfo=UTC)  # the words are checked, not the grid


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field; `path` leads into nested objects."""

    path: tuple[str, ...]
    code: str
    message: str


class InvalidDefinition(SchedulerException):
    """The words make no schedule; `problems` lists everything that is wrong with them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        words = "; ".join(f"{'.'.join(one.path)}: {one.message}" for one in self.problems)
        super().__init__(words)


def _template(text: str) -> str:
    if not TEMPLATE.fullmatch(text):
        raise ValueError("write text and names in braces, such as tenant:{tenant} or {order.id}")
    return text


Template = Annotated[str, Field(max_length=200), AfterValidator(_template)]


def completed_policy(given: Mapping[str, Any]) -> RetryPolicy:
    """The retry policy that `given` names in part; the settings say the rest."""
    return RetryPolicy.completed(
        given,
        max_retries=env.scheduler_max_retries,
        base_ms=env.scheduler_backoff_base,
        cap_ms=env.scheduler_backoff_max,
    )


class Definition(BaseModel):
    """What a person says about a schedule.

    `calendar` and the upstreams of a dependent one are names or ids; `references` makes ids of
    them, and only those are stored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")
    trigger_type: TriggerType = TriggerType.TIME_BASED
    schedule_type: Literal["", "cron", "interval", "one_time"] = ""
    schedule_config: dict[str, Any] = Field(default_factory=dict)
    timezone: str = "UTC"
    task_type: str
    task_config: dict[str, Any] = Field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    enabled: bool = True
    paused_until: AwareDatetime | None = None
    pause_reason: str = Field("", max_length=500)
    timeout_ms: int = Field(
        default_factory=lambda: int(env.execution_timeout_seconds * 1000), ge=100, le=7 * DAY_MS
    )
    overlap_policy: OverlapPolicy = OverlapPolicy.SKIP
    catchup_policy: CatchupPolicy = CatchupPolicy.LATEST
    catchup_limit: int = Field(1, ge=1, le=100)
    catchup_window_ms: int | None = Field(None, ge=10_000, le=366 * DAY_MS)
    retry_policy: RetryPolicy = Field(default_factory=lambda: completed_policy({}))
    trigger_config: dict[str, Any] = Field(default_factory=dict)
    start_at: AwareDatetime | None = None
    end_at: AwareDatetime | None = None
    max_runs: int | None = Field(None, ge=1, le=10**12)
    execution_window: dict[str, Any] = Field(default_factory=dict)
    calendar: str | None = Field(None, min_length=1, max_length=200)
    outside_window: OutsideWindow = OutsideWindow.SKIP
    jitter_ms: int = Field(0, ge=0, le=DAY_MS)
    spread_ms: int = Field(0, ge=0, le=DAY_MS)
    buffer_limit: int = Field(100, ge=1, le=10_000)
    run_ttl_ms: int | None = Field(None, ge=1000, le=366 * DAY_MS)
    pause_after_failures: int | None = Field(None, ge=1, le=1000)
    max_concurrent: int | None = Field(None, ge=1, le=10_000)
    limit_key: Template = ""
    unique_key: Template = ""
    unique_mode: UniqueMode = UniqueMode.WHILE_ACTIVE
    unique_for_ms: int | None = Field(None, ge=1000, le=366 * DAY_MS)

    @field_validator("calendar", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, UUID) else None if value == "" else value

    @field_validator("task_config")
    @classmethod
    def _in_our_spelling(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        is_agents = info.data.get("task_type") == "agent"
        return agent_config.in_our_spelling(value) if is_agents else value

    @field_validator("retry_policy", mode="before")
    @classmethod
    def _with_the_defaults_of_this_installation(cls, value: Any) -> Any:
        return completed_policy(value) if isinstance(value, Mapping) else value

    def columns(self) -> dict[str, Any]:
        """The values as `stored` reads them from the schedule's columns."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        values["retry_policy"] = self.retry_policy.model_dump(mode="json")
        return values


COLUMNS: Final = tuple(name for name in Definition.model_fields if name != "calendar")


def stored(schedule: Schedule) -> dict[str, Any]:
    """What the columns hold, valid or not: a corrupt row can be corrected and deleted."""
    values = {name: getattr(schedule, name) for name in COLUMNS}
    values["calendar"] = str(schedule.calendar_id) if schedule.calendar_id else None
    return values


def parse(data: Mapping[str, Any]) -> Definition:
    """Check the words of a schedule; raises InvalidDefinition with every problem."""
    try:
        definition = Definition.model_validate(dict(data))
    except ValidationError as error:
        raise InvalidDefinition(problems_of(error)) from None
    problems = [
        *_trigger_problems(definition),
        *_window_problems(definition),
        *_unique_problems(definition),
        *_task_problems(definition),
    ]
    if problems:
        raise InvalidDefinition(problems)
    return definition


def problems_of(error: ValidationError, *above: str) -> list[Problem]:
    """What pydantic found, each with its path below the field `above`."""
    return [
        Problem(
            (*above, *(str(part) for part in one["loc"] if part != A_KEY)),
            one["type"],
            one["msg"].removeprefix("Value error, "),
        )
        for one in error.errors()
    ]


def _trigger_problems(definition: Definition) -> Iterable[Problem]:
    try:
        next_run.zone(definition.timezone)
    except next_run.InvalidTriggerConfigError as error:
        yield Problem(("timezone",), "invalid", error.reason)
    if definition.trigger_type is TriggerType.TIME_BASED:
        yield from _rule_problems(definition)
    elif definition.schedule_type or definition.schedule_config:
        kind = definition.trigger_type.value
        message = f"a schedule that is {kind} has no schedule_type and no schedule_config"
        yield Problem(("schedule_type",), "invalid", message)
    for path, message in sources.problems(definition.trigger_type, definition.trigger_config):
        yield Problem(("trigger_config", *path), "invalid", message)
    if definition.start_at and definition.end_at and definition.end_at <= definition.start_at:
        yield Problem(("end_at",), "invalid", "must be later than start_at")


def _rule_problems(definition: Definition) -> Iterable[Problem]:
    if not definition.schedule_type:
        yield Problem(("schedule_type",), "required", "say cron, interval or one_time")
        return
    try:
        next_run.parse_rule(
            definition.schedule_type, definition.schedule_config, anchor_at=ANY_ANCHOR
        )
    except next_run.InvalidTriggerConfigError as error:
        is_own_field = error.field in Definition.model_fields
        path = (error.field,) if is_own_field else ("schedule_config", error.field)
        yield Problem(path, "invalid", error.reason)


def _window_problems(definition: Definition) -> Iterable[Problem]:
    words = definition.execution_window
    try:
        windows.parse_window(words, zone=next_run.zone("UTC"))
    except next_run.InvalidTriggerConfigError as error:
        yield Problem(("execution_window", error.field), "invalid", error.reason)
        return
    if len(words.get("hours", [])) > MOST_HOURS:
        message = f"at most {MOST_HOURS} spans; join some, or make two schedules of it"
        yield Problem(("execution_window", "hours"), "too_long", message)


def _unique_problems(definition: Definition) -> Iterable[Problem]:
    mode = definition.unique_mode
    if mode is not UniqueMode.WHILE_ACTIVE and not definition.unique_key:
        yield Problem(("unique_key",), "required", f"unique_mode {mode.value!r} needs a key")
    if mode in LASTING and definition.unique_for_ms is None:
        yield Problem(("unique_for_ms",), "required", f"unique_mode {mode.value!r} needs a time")


def _task_problems(definition: Definition) -> Iterable[Problem]:
    try:
        registry.validate(definition.task_type, definition.task_config)
    except registry.UnknownTaskType as error:
        yield Problem(("task_type",), "unknown", str(error))
    except registry.InvalidTaskConfig as error:
        for one in error.problems:
            path = tuple(one.field.split(".")) if one.field else ()
            yield Problem(("task_config", *path), "invalid", one.message)
