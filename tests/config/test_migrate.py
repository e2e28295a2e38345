"""Migrations may take longer than any statement of the running system."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import pre_migrate


def limits() -> tuple[str, ...]:
    found = []
    with connection.cursor() as cursor:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            cursor.execute(f"SHOW {name}")
            found.append(cursor.fetchone()[0])
    return tuple(found)


@pytest.mark.django_db(transaction=True)
def test_a_migration_may_take_its_time_but_waits_for_no_lock() -> None:
    seen: list[tuple[str, ...]] = []

    def look(**_: Any) -> None:
        seen.append(limits())

    pre_migrate.connect(look)
    try:
        call_command("migrate", verbosity=0)
    finally:
        pre_migrate.disconnect(look)

    assert set(seen) == {("0", "0", "3s")}
    assert limits() == ("15s", "30s", "3s")
