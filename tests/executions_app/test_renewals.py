"""What is written all the time touches no index; and no partition takes what has no other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from executions_app import clock, ids, lifecycle, partitions
from executions_app.ledger import Claimed
from executions_app.models import Execution

WRITTEN_ALL_THE_TIME = ("lease_expires_at", "heartbeat_at", "progress")
FAR = datetime(2034, 1, 1, tzinfo=UTC)
OF_FAR = partitions.Partition(partitions.EXECUTIONS, FAR).name
FEW = 3  # all versions of their rows have room on one page
# Of the test's own transaction, so that nothing has to wait for statistics.
UPDATED = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = %s"
INDEXES = r"""
SELECT tablename, indexdef FROM pg_indexes
WHERE tablename ~ '^task_executions(_\d{4}_\d\d)?$'
"""
PARTITIONED = "SELECT relname FROM pg_class WHERE relkind = 'p'"
FOR_ALL_ELSE = """
SELECT relname FROM pg_class WHERE relispartition AND pg_get_expr(relpartbound, oid) = 'DEFAULT'
"""


def rows(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def set_back(held: list[Claimed], *, by: timedelta) -> None:
    """In one transaction it is always now: a lease that was taken earlier gets another instant."""
    earlier = {name: F(name) - by for name in ("heartbeat_at", "lease_expires_at")}
    Execution.objects.filter(id__in=[one.id for one in held]).update(**earlier)


def renew(held: list[Claimed]) -> None:
    assert len(lifecycle.renew({one.id: one.lease_token for one in held})) == len(held)


def tell_progress(held: list[Claimed]) -> None:
    for one in held:
        lifecycle.report_progress(one, {"percent": 50})


@pytest.mark.django_db
@pytest.mark.parametrize("write", [renew, tell_progress])
def test_a_lease_is_renewed_and_progress_told_without_a_word_to_any_index(
    claim: Callable[..., Claimed], write: Callable[[list[Claimed]], None]
) -> None:
    for table in (partitions.EXECUTIONS, partitions.EVENTS):
        partitions.ensure(table, [FAR], now=clock.now())  # one that is empty
    held = [claim(id=ids.new(FAR)) for _ in range(FEW)]
    set_back(held, by=timedelta(seconds=10))
    ((updated, hot),) = rows(UPDATED, OF_FAR)

    write(held)

    assert rows(UPDATED, OF_FAR) == [(updated + FEW, hot + FEW)]


@pytest.mark.django_db
@pytest.mark.parametrize("column", WRITTEN_ALL_THE_TIME)
def test_no_index_of_executions_names_what_is_written_all_the_time(column: str) -> None:
    partitions.ensure_ahead(clock.now())

    found = rows(INDEXES)

    looked_at = {table for table, _ in found}
    assert looked_at == {"task_executions", *partitions.existing(partitions.EXECUTIONS)}
    assert [definition for _, definition in found if column in definition] == []


@pytest.mark.django_db
def test_no_partition_takes_what_has_no_other() -> None:
    partitions.ensure_ahead(clock.now())

    partitioned = {name for (name,) in rows(PARTITIONED)}

    assert partitioned >= {one.name for one in partitions.TABLES}
    assert rows(FOR_ALL_ELSE) == []
