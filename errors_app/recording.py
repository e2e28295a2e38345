"""What an error record says of an execution; it is written here where no attempt has failed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from errors_app import taxonomy
from errors_app.models import SURVIVED, ErrorRecord
from errors_app.taxonomy import Classified, Severity
from errors_app.telling import told
from executions_app import clock, events, ids
from executions_app.ledger import Claimed
from executions_app.models import Execution
from executions_app.states import RecoveryStatus


def about(
    held: Claimed | Execution,
    failure: Classified,
    *,
    now: datetime,
    more: Mapping[str, str],
    **words: Any,
) -> ErrorRecord:
    """What went wrong in a held execution; `words` say what becomes of it, `more` is context."""
    return ErrorRecord(
        id=ids.new(now),
        execution_id=held.id,
        schedule_id=held.schedule_id,
        owner_id=held.owner_id,
        worker_id=held.worker_id,
        started_at=held.started_at,
        ended_at=now,
        error_class=failure.error_class,
        exception_type=failure.exception_type,
        message=failure.message,
        stack=failure.stack,
        context={
            "name": held.snapshot.get("name"),
            "task_type": held.snapshot.get("task_type"),
            "trigger": held.trigger,
            "attempt": held.attempt,
            "max_attempts": held.max_attempts,
            **more,
            **failure.context,
        },
        created_at=now,
        updated_at=now,
        **words,
    )


def record_survived(held: Claimed, error: BaseException, *, part: str, note: str) -> None:
    """In the caller's transaction, one at a time: what a held execution got over by itself.

    One record per execution and `part` of it. It is no failed attempt and asks nobody for
    anything: resolved from the start, of low severity, in an incident that is resolved as well.
    """
    if ErrorRecord.objects.filter(SURVIVED, execution_id=held.id, context__part=part).exists():
        return
    failure = taxonomy.classify(error)
    # By what it is alone: what a model or its server says is different each time.
    kind = f"survived\n{failure.error_class.value}\n{failure.exception_type}\n{part}"
    record = about(
        held,
        failure,
        now=clock.now(),
        more={"part": part},
        attempt=0,
        severity=Severity.LOW,
        fingerprint=hashlib.sha256(kind.encode()).hexdigest()[:32],
        recovery_status=RecoveryStatus.RESOLVED,
        note=note,
    )
    record.save(force_insert=True)
    events.emit([told("error:recorded", record)])
