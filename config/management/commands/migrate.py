"""Django's `migrate`, with all the time it needs: a big table may take minutes to be rewritten.

It waits as briefly as everybody for a lock that others hold: work goes on meanwhile.
"""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

UNBOUNDED = ("statement_timeout", "idle_in_transaction_session_timeout")


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        with connection.cursor() as cursor:
            for name in UNBOUNDED:
                cursor.execute(f"SET {name} = 0")
        super().handle(*args, **options)
        with connection.cursor() as cursor:
            for name in UNBOUNDED:
                cursor.execute(f"RESET {name}")
