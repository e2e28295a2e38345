"""The one clock of every decision: PostgreSQL's, so that hosts may disagree and nothing moves."""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def now() -> datetime:
    """PostgreSQL's `now()`: inside a transaction, the instant it began."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        instant: datetime = cursor.fetchone()[0]
    return instant
