"""The terminal's way to errors, incidents and dead letters: found by id, shown as REST does."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from django.db.models import QuerySet

from errors_app import edited_input
from errors_app.api.incident_serializers import IncidentSerializer
from errors_app.api.serializers import (
    DeadLetterSerializer,
    ErrorRecordSerializer,
    ToldDeadLetterSerializer,
)
from errors_app.edited_input import UnusableParameters
from errors_app.incidents import trends
from errors_app.models import DeadLetter, ErrorRecord, Incident
from errors_app.models_alerts import AlertChannel, AlertRule
from executions_app import clock
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import Options, as_uuid, execution_named

Row = TypeVar("Row", AlertRule, AlertChannel)

LOOK_AT_ALERTS: Final = "`manage.py alerts list`, `rules` and `channels` show what there is"


def error_document(record: ErrorRecord) -> dict[str, Any]:
    """The REST object of an error record."""
    return dict(ErrorRecordSerializer(record).data)


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """The REST object of a dead letter."""
    return dict(DeadLetterSerializer(letter).data)


def add_parameters(parser: ArgumentParser) -> None:
    """`--parameters`: what the next attempt is given in place of what the last one was."""
    parser.add_argument(
        "--parameters", metavar="JSON", help="an object, in place of the execution's own"
    )


def edited(options: Options) -> dict[str, Any]:
    """`parameters`, if the verb was given any; raises CommandProblem."""
    if options.get("parameters") is None:
        return {}
    try:
        return {"parameters": edited_input.read(options["parameters"])}
    except UnusableParameters as error:
        fields = {"parameters": str(error)}
        raise CommandProblem(str(error), "Correct them", Exit.USAGE, fields=fields) from None


def incident_documents(incidents: Sequence[Incident]) -> list[dict[str, Any]]:
    """The REST objects of incidents."""
    known = trends.of([one.id for one in incidents], now=clock.now())
    return list(IncidentSerializer(incidents, many=True, context={"trends": known}).data)


def incident_named(reference: str) -> Incident:
    """The incident of an id; raises CommandProblem."""
    as_id = as_uuid(reference)
    found = Incident.objects.filter(id=as_id).first() if as_id else None
    if found is None:
        todo = "`manage.py incidents list` shows what there is"
        raise CommandProblem(f"There is no incident {reference!r}", todo, Exit.NOT_FOUND)
    return found


def told_letter_document(letter: DeadLetter) -> dict[str, Any]:
    """The REST object of a dead letter alone, with the attempts that led to it."""
    return dict(ToldDeadLetterSerializer(letter).data)


def error_named(reference: str) -> ErrorRecord:
    """The error record of an id; raises CommandProblem."""
    as_id = as_uuid(reference)
    found = ErrorRecord.objects.filter(id=as_id).first() if as_id else None
    if found is None:
        todo = "`manage.py errors list` shows what there is"
        raise CommandProblem(f"There is no error {reference!r}", todo, Exit.NOT_FOUND)
    return found


def letter_named(reference: str) -> DeadLetter:
    """The dead letter of its own id, or the newest of an execution; raises CommandProblem."""
    as_id = as_uuid(reference)
    found = DeadLetter.objects.filter(id=as_id).first() if as_id else None
    if found is None:
        execution = execution_named(reference)
        found = DeadLetter.objects.filter(execution_id=execution.id).order_by("-id").first()
    if found is None:
        todo = "`manage.py dead_letters list` shows what there is"
        raise CommandProblem(f"There is no dead letter of {reference!r}", todo, Exit.NOT_FOUND)
    return found


def rule_named(reference: str) -> AlertRule:
    """The alert rule of a name or an id; raises CommandProblem."""
    return _named(AlertRule.objects.all(), reference, word="rule")


def channel_named(reference: str) -> AlertChannel:
    """The alert channel of a name or an id; raises CommandProblem."""
    return _named(AlertChannel.objects.all(), reference, word="channel")


def _named(rows: QuerySet[Row], reference: str, *, word: str) -> Row:
    as_id = as_uuid(reference)
    found = rows.filter(name=reference).first() if as_id is None else rows.filter(id=as_id).first()
    if found is None:
        raise CommandProblem(f"There is no {word} {reference!r}", LOOK_AT_ALERTS, Exit.NOT_FOUND)
    return found
