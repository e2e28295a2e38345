"""The terminal's way to errors and dead letters: found by id, shown in the shape of REST."""

from __future__ import annotations

from typing import Any

from errors_app.api.serializers import DeadLetterSerializer, ErrorRecordSerializer
from errors_app.models import DeadLetter, ErrorRecord
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import as_uuid, execution_named


def error_document(record: ErrorRecord) -> dict[str, Any]:
    """The REST object of an error record."""
    return dict(ErrorRecordSerializer(record).data)


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """The REST object of a dead letter."""
    return dict(DeadLetterSerializer(letter).data)


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
