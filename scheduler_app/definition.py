"""The words of a schedule, checked: what REST, admin, commands and the demo hand in.

`parse` is the only way to a Definition from outside; it names every problem at once, each with the
path of its field, so that nothing is stored by halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from agents_app.handlers import registry
from config.env import env
from errors_app.backoff import RetryPolicy
from executions_app.states import Priority, SchedulerException
from scheduler_app import next_run
from scheduler_app.policies import CatchupPolicy, OverlapPolicy, TriggerType

DAY_MS: Final = 86_400_000
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


def completed_policy(given: Mapping[str, Any]) -> RetryPolicy:
    """The retry policy that `given` names in part; the settings say the rest."""
    return RetryPolicy.completed(
        given,
        max_retries=env.scheduler_max_retries,
        base_ms=env.scheduler_backoff_base,
        cap_ms=env.scheduler_backoff_max,
    )


class Definition(BaseModel):
    """What a person says about a schedule."""

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

    @field_validator("retry_policy", mode="before")
    @classmethod
    def _with_the_defaults_of_this_installation(cls, value: Any) -> Any:
        return completed_policy(value) if isinstance(value, Mapping) else value

    def columns(self) -> dict[str, Any]:
        """The values as the schedule's columns hold them."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        values["retry_policy"] = self.retry_policy.model_dump(mode="json")
        return values


def parse(data: Mapping[str, Any]) -> Definition:
    """Check the words of a schedule; raises InvalidDefinition with every problem."""
    try:
        definition = Definition.model_validate(dict(data))
    except ValidationError as error:
        raise InvalidDefinition(
            Problem(tuple(str(part) for part in one["loc"]), one["type"], one["msg"])
            for one in error.errors()
        ) from None
    problems = [*_trigger_problems(definition), *_task_problems(definition)]
    if problems:
        raise InvalidDefinition(problems)
    return definition


def _trigger_problems(definition: Definition) -> Iterable[Problem]:
    try:
        next_run.zone(definition.timezone)
    except next_run.InvalidTriggerConfigError as error:
        yield Problem(("timezone",), "invalid", error.reason)
    match definition.trigger_type:
        case TriggerType.TIME_BASED:
            yield from _rule_problems(definition)
        case TriggerType.MANUAL:
            if definition.schedule_type or definition.schedule_config:
                message = "a manual schedule has no schedule_type and no schedule_config"
                yield Problem(("schedule_type",), "invalid", message)
        case _:
            message = f"{definition.trigger_type.value!r} is not available yet"
            yield Problem(("trigger_type",), "not_yet", message)


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


def _task_problems(definition: Definition) -> Iterable[Problem]:
    try:
        registry.validate(definition.task_type, definition.task_config)
    except registry.UnknownTaskType as error:
        yield Problem(("task_type",), "unknown", str(error))
    except registry.InvalidTaskConfig as error:
        for one in error.problems:
            path = tuple(one.field.split(".")) if one.field else ()
            yield Problem(("task_config", *path), "invalid", one.message)
