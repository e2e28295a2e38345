"""What people say of rules and channels: checked before anything looks at an execution by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from errors_app.alerting import kinds
from errors_app.models_alerts import AlertKind
from errors_app.taxonomy import Severity
from executions_app.states import SchedulerException

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
LONGEST_URL: Final = 2_000


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field, by its path."""

    path: tuple[str, ...]
    code: str
    message: str


class Invalid(SchedulerException):
    """The words make no rule, or no channel; `problems` says why, field by field."""

    def __init__(self, problems: Iterable[FieldProblem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{'.'.join(one.path)}: {one.message}" for one in self.problems))

    @classmethod
    def field(cls, name: str, message: str, *, code: str = "invalid") -> Invalid:
        return cls([FieldProblem((name,), code, message)])


class RuleDefinition(BaseModel):
    """What to look for, for whom, and whom to tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    kind: AlertKind
    parameters: dict[str, Any] = {}
    schedule_id: UUID | None = None
    owner_id: int | None = None
    severity: Severity = Severity.MEDIUM
    channels: Annotated[list[str], Field(max_length=50)] = []
    enabled: bool = True

    @model_validator(mode="after")
    def _has_its_scope(self) -> RuleDefinition:
        is_scoped = self.schedule_id is not None or self.owner_id is not None
        if self.kind in kinds.NEED_A_SCOPE and not is_scoped:
            raise ValueError(f"a rule of kind {self.kind.value} needs schedule_id or owner_id")
        if self.kind in kinds.OF_THE_HOUSE - {AlertKind.QUEUE_AGE} and is_scoped:
            raise ValueError(f"a rule of kind {self.kind.value} is about no schedule and no owner")
        return self


class ChannelDefinition(BaseModel):
    """Where notices go: `url` is the word log, or an Apprise URL, which is never shown again."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    url: Annotated[str, Field(min_length=3, max_length=LONGEST_URL)]
    enabled: bool = True
    min_severity: Severity = Severity.LOW


Definition = TypeVar("Definition", bound=BaseModel)


def parse_rule(words: Mapping[str, Any]) -> RuleDefinition:
    """Check the words of a rule; raises Invalid with every problem."""
    rule = _parsed(RuleDefinition, words)
    try:
        whole = kinds.parameters(rule.kind, rule.parameters)
    except ValidationError as error:
        raise Invalid(_problems(error, "parameters")) from None
    return rule.model_copy(update={"parameters": whole.model_dump(mode="json")})


def parse_channel(words: Mapping[str, Any]) -> ChannelDefinition:
    """Check the words of a channel; raises Invalid, which does not repeat the URL."""
    return _parsed(ChannelDefinition, words)


def _parsed(model: type[Definition], words: Mapping[str, Any]) -> Definition:
    try:
        return model.model_validate(dict(words))
    except ValidationError as error:
        raise Invalid(_problems(error)) from None


def _problems(error: ValidationError, *above: str) -> list[FieldProblem]:
    return [
        FieldProblem(
            (*above, *(str(part) for part in one["loc"])) or ("kind",),
            "unknown_field" if one["type"] == "extra_forbidden" else "invalid",
            one["msg"].removeprefix("Value error, "),
        )
        for one in error.errors(include_url=False, include_input=False)
    ]
