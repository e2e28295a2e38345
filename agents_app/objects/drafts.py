"""The words of what a cycle may use: checked as a whole, stored once, told to the audit log.

Whoever writes one of these objects holds one lock first: two edits that are each without a cycle
of stand-ins could make one together, and nothing comes to use what is being removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from django.db import IntegrityError, connection, models, transaction
from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field, ValidationError

from executions_app import audit, clock, ids
from executions_app.audit import Actor
from executions_app.states import SchedulerException

LOCK_KEY: Final = 0x4F424A53  # one editor of these objects at a time
MOST_NAMED: Final = 5
NO_FIELDS: Final = frozenset({"[key]", "str", "CredentialRef"})
"""What pydantic puts into the path of a problem beside the names of fields."""

Name = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Also a word of plans and prompts, so nothing that could be read as more than a name."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field, by its path."""

    path: tuple[str, ...]
    code: str
    message: str


class Invalid(SchedulerException):
    """The words make no such object; `problems` says why, field by field, and repeats no value."""

    def __init__(self, problems: Iterable[FieldProblem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{'.'.join(one.path)}: {one.message}" for one in self.problems))

    @classmethod
    def field(cls, name: str, message: str, *, code: str = "invalid") -> Invalid:
        return cls([FieldProblem((name,), code, message)])


class Unknown(SchedulerException):
    """There is no such object any more."""


class InUse(SchedulerException):
    """Others need what is to be removed."""


class Draft(BaseModel):
    """What a person says of one object; a value that is refused is never repeated."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


class Part(BaseModel):
    """An object within the words; its names may be camelCase, too."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(
            validation_alias=lambda name: AliasChoices(name, _camel(name))
        ),
    )


AnyDraft = TypeVar("AnyDraft", bound=Draft)
Row = TypeVar("Row", bound=models.Model)


def parse(draft: type[AnyDraft], words: Mapping[str, Any]) -> AnyDraft:
    """Check the words; raises Invalid with every problem."""
    try:
        return draft.model_validate(dict(words))
    except ValidationError as error:
        raise Invalid(_problems(error)) from None


def _problems(error: ValidationError) -> list[FieldProblem]:
    return [
        FieldProblem(
            tuple(str(part) for part in one["loc"] if part not in NO_FIELDS),
            "unknown_field" if one["type"] == "extra_forbidden" else "invalid",
            one["msg"].removeprefix("Value error, "),
        )
        for one in error.errors(include_url=False, include_input=False)
    ]


def hold() -> None:
    """Until the transaction ends nobody else writes these objects."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])


def locked(rows: models.QuerySet[Row], row_id: UUID) -> Row:
    """The row, kept from other writers; `hold` comes before it. Raises Unknown."""
    row = rows.select_for_update(of=("self",)).filter(pk=row_id).first()
    if row is None:
        noun = rows.model._meta.verbose_name  # noqa: SLF001  Django's documented name for it
        raise Unknown(f"This {noun} is not there any more")
    return row


def referred(
    rows: models.QuerySet[Row], reference: str | None, *, field: str
) -> tuple[Row | None, list[FieldProblem]]:
    """The row of a name or an id among these, and what is wrong if there is none."""
    if reference is None:
        return None, []
    as_id = ids.as_uuid(reference)
    found = (rows.filter(name=reference) if as_id is None else rows.filter(pk=as_id)).first()
    if found is None:
        noun = rows.model._meta.verbose_name  # noqa: SLF001  Django's documented name for it
        message = f"there is no {noun} {reference!r}"
        return None, [FieldProblem((field,), "unknown", message)]
    return found, []


def circle(
    start: UUID | None, to: UUID | None, stand_ins: Mapping[UUID, UUID | None]
) -> list[UUID]:
    """The ids along which `start` would stand in for itself if `to` stood in for it; [] if not."""
    way: list[UUID] = []
    while to is not None and to not in way:
        way.append(to)
        if to == start:
            return way
        to = stand_ins.get(to)
    return []


def save(row: models.Model, columns: Iterable[str] | None = None) -> None:
    """Store a new row, or these columns of an old one; raises Invalid for a name that is taken."""
    names = None if columns is None else [*columns, "updated_at"]
    try:
        with transaction.atomic():
            row.save(force_insert=columns is None, update_fields=names)
    except IntegrityError as error:
        if "unique" not in str(error):
            raise
        raise Invalid.field("name", "another one has this name", code="unique") from None


def named(names: Iterable[str]) -> str:
    """The first few names, for a sentence."""
    first = list(names)
    more = ", ..." if len(first) > MOST_NAMED else ""
    return ", ".join(repr(name) for name in first[:MOST_NAMED]) + more


def record(
    what: str,
    row: models.Model,
    actor: Actor,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    note: str = "",
) -> None:
    """Tell the audit log, in the transaction of the act; the words hold no secret."""
    noun = str(row._meta.model_name)  # noqa: SLF001  Django's documented name for it
    audit.record(
        actor,
        f"{noun}.{what}",
        object_type=noun,
        object_id=row.pk,
        now=clock.now(),
        before=before,
        after=after,
        note=note,
    )


def record_change(
    row: models.Model,
    actor: Actor,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    note: str = "",
) -> None:
    """Tell the audit log what differs."""
    changed = [name for name in after if before[name] != after[name]]
    record(
        "updated",
        row,
        actor,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
        note=note,
    )
