"""What people do to many executions at once: each verb a fixed number of statements.

All of it happens in the caller's transaction. `lock` comes first: it takes the rows in id order, so
that nothing moves between the last look at them and the act. The acts are guarded as those on one
row are; whatever did not move is answered with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from executions_app import audit, clock, statements
from executions_app.audit import Actor
from executions_app.models import Execution
from executions_app.states import ExecutionStatus, Outcome

Refusals = dict[UUID, str]
"""Row -> why it stays as it was."""
GONE = "it is not there any more"


def lock(ids: Sequence[UUID]) -> dict[UUID, str]:
    """Hold these executions until the transaction ends; answers their statuses."""
    chosen = Execution.objects.filter(id__in=ids).order_by("id").select_for_update()
    return dict(chosen.values_list("id", "status"))


def cancel(
    ids: Sequence[UUID], *, actor: Actor, note: str = "", facts: Mapping[str, Any] | None = None
) -> Refusals:
    """Cancel what has not started, ask what runs to stop; answers what neither was done to.

    `facts` stand in the audit entry of each.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.END_UNSTARTED, [list(ids), Outcome.CANCELLED.value])
        ended = {row[0] for row in cursor.fetchall()}
        before = _asked_before(ids)
        still = [one for one in ids if one not in ended and one not in before]
        cursor.execute(statements.ASK_TO_STOP, [still])
        asked = {row[0] for row in cursor.fetchall()}
    now = clock.now()
    for status, moved in ((ExecutionStatus.CANCELLED, ended), (ExecutionStatus.RUNNING, asked)):
        if moved:
            audit.record_all(
                actor,
                "execution.cancelled",
                object_type="execution",
                object_ids=sorted(moved),
                now=now,
                after={"status": status.value, **(facts or {})},
                note=note,
            )
    return {
        one: "it has been asked to stop already" if one in before else "it has ended"
        for one in ids
        if one not in ended | asked
    }


def _asked_before(ids: Sequence[UUID]) -> set[UUID]:
    """To ask once more would only be one more event and one more entry in the audit log."""
    running = Execution.objects.filter(id__in=ids, status=ExecutionStatus.RUNNING)
    return set(running.exclude(cancel_requested_at=None).values_list("id", flat=True))
