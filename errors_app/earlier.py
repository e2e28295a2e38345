"""What a failed attempt is judged by beside itself: earlier errors of its execution and schedule.

Each question is asked only if the answer can matter, and only after a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from errors_app.backoff import RetryPolicy, Strategy
from errors_app.decision import Past
from errors_app.models import ErrorRecord
from errors_app.taxonomy import Classified, WorkerLost
from executions_app import ids, prepared
from executions_app.ledger import Claimed

RECENT: Final = timedelta(minutes=5)
MOST_RECENT: Final = 100  # the newest errors of a schedule that are looked at
CRASH: Final = WorkerLost.__qualname__
# An execution that failed and has come right since says that the trouble is over.
RECENT_FAILURES: Final = """
SELECT count(*) FILTER (WHERE recovery_status <> 'resolved' AND execution_id <> %s) FROM (
    SELECT recovery_status, execution_id FROM error_records
    WHERE schedule_id = %s AND id >= %s ORDER BY id DESC LIMIT %s
) AS newest
"""


def of(held: Claimed, failure: Classified, *, policy: RetryPolicy, now: datetime) -> Past:
    """What is known beside this failure of a held execution."""
    return Past(
        lost=_lost(held, failure, policy),
        of_class=_of_class(held, failure, policy),
        recent_failures=_recent_failures(held, failure, policy, now=now),
    )


def _lost(held: Claimed, failure: Classified, policy: RetryPolicy) -> int:
    """How many attempts of this budget took their worker with them, if this one did.

    A worker that was told to stop, or a lease that a person ended, speaks against nobody's work.
    """
    if failure.exception_type != CRASH:
        return 0
    return _earlier(held, policy, {"exception_type": CRASH}) + 1


def _of_class(held: Claimed, failure: Classified, policy: RetryPolicy) -> int:
    if not policy.most_of(failure.error_class):
        return 1
    return _earlier(held, policy, {"error_class": failure.error_class}) + 1


def _earlier(held: Claimed, policy: RetryPolicy, chosen: Mapping[str, Any]) -> int:
    """How many attempts of this budget have failed so before; a requeue adds a budget."""
    before_this_budget = held.max_attempts - (policy.max_retries + 1)
    records = ErrorRecord.objects.filter(
        execution_id=held.id, attempt__gt=before_this_budget, **chosen
    )
    return records.count()


def _recent_failures(
    held: Claimed, failure: Classified, policy: RetryPolicy, *, now: datetime
) -> int:
    """Failed attempts of other executions of its schedule lately that have not come right."""
    is_adaptive = policy.waits(failure.error_class).strategy is Strategy.ADAPTIVE
    if held.schedule_id is None or not is_adaptive:
        return 0
    since = ids.floor(now - RECENT)
    row = prepared.execute(
        RECENT_FAILURES, [held.id, held.schedule_id, since, MOST_RECENT]
    ).fetchone()
    assert row is not None  # an aggregate has one row
    return int(row[0])
