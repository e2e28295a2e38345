"""What starts a schedule that has no cadence, in words: its `trigger_config`, checked.

An event-driven schedule names its source, a dependent one its upstream schedules. `definition`
asks for the problems when a schedule is saved, the sources read what was stored through `parse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from executions_app import events
from scheduler_app.cron import InvalidTriggerConfigError
from scheduler_app.policies import TriggerType
from scheduler_app.sources.filters import Filter

MOST_UPSTREAMS: Final = 50
REFUSED: Final = "schedule:start_refused"  # it ends chains of executions, and so begins none
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebhookConfig(_Config):
    """Starts for each signed request whose JSON object fulfils the filter."""

    source: Literal["webhook"]
    filter: Filter = Field(default_factory=dict)


class InternalConfig(_Config):
    """Starts for each event of this type that the owner may see and that fulfils the filter.

    The filter looks at `type`, `topic`, `ts`, `schedule_id`, `execution_id` and `data`.
    """

    source: Literal["internal"]
    event: str
    filter: Filter = Field(default_factory=dict)

    @field_validator("event")
    @classmethod
    def _is_known(cls, value: str) -> str:
        known = events.TYPES.keys() - {REFUSED}
        if value not in known:
            raise ValueError(f"{value!r} starts nothing; there are {', '.join(sorted(known))}")
        return value


class DependentConfig(_Config):
    """Starts when upstream schedules have ended: names or ids when given, ids when stored.

    `success` is completed, `failure` is failed, `end` is both and cancelled too. With `all` every
    upstream must have ended so since this schedule was last started by them.
    """

    upstreams: list[Name] = Field(min_length=1, max_length=MOST_UPSTREAMS)
    on: Literal["success", "failure", "end"] = "success"
    mode: Literal["any", "all"] = "any"

    @field_validator("upstreams")
    @classmethod
    def _are_distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("an upstream schedule is named twice")
        return value


EventConfig = WebhookConfig | InternalConfig
TriggerConfig = EventConfig | DependentConfig
_EVENT: Final = TypeAdapter[EventConfig](Annotated[EventConfig, Field(discriminator="source")])
_DEPENDENT: Final = TypeAdapter[DependentConfig](DependentConfig)


def parse_trigger_config(trigger_type: str, given: Mapping[str, Any]) -> TriggerConfig | None:
    """The settings of an event-driven or dependent schedule, None for one of the other kinds.

    Raises InvalidTriggerConfigError for the first of its `problems`.
    """
    try:
        return _validated(trigger_type, given)
    except ValidationError:
        field, reason = problems(trigger_type, given)[0]
        raise InvalidTriggerConfigError(field=".".join(field), reason=reason) from None


def problems(trigger_type: str, given: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """Everything that is wrong with the settings: the path inside them, and why."""
    try:
        parsed = _validated(trigger_type, given)
    except ValidationError as error:
        return [_problem(one["type"], one["loc"], one["msg"]) for one in error.errors()]
    if parsed is None and given:
        return [((), f"a {trigger_type} schedule has no trigger_config")]
    return []


def _validated(trigger_type: str, given: Mapping[str, Any]) -> TriggerConfig | None:
    match trigger_type:
        case TriggerType.EVENT_DRIVEN:
            return _EVENT.validate_python(dict(given))
        case TriggerType.DEPENDENT:
            return _DEPENDENT.validate_python(dict(given))
    return None


def _problem(
    code: str, location: tuple[int | str, ...], message: str
) -> tuple[tuple[str, ...], str]:
    if code.startswith("union_tag"):
        return ("source",), "say webhook or internal"
    parts = tuple(str(part) for part in location if part != "[key]")
    # The name of the source, by which pydantic has told the kinds apart, is no part of the path.
    path = parts[1:] if parts[:1] in {("webhook",), ("internal",)} else parts
    return path, message.removeprefix("Value error, ")
