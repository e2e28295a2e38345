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
    """Cancel what has not started, ask what runs to stop; answers what had ended already.

    `facts` stand in the audit entry of each.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.END_UNSTARTED, [list(ids), Outcome.CANCELLED.value])
        ended = {row[0] for row in cursor.fetchall()}
        cursor.execute(statements.ASK_TO_STOP, [[one for one in ids if one not in ended]])
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
    return dict.fromkeys((one for one in ids if one not in ended | asked), "it has ended")
