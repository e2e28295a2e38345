"""The statements of the hot path, parsed and planned once per connection instead of every time.

Planning one of them over the partitions costs PostgreSQL as much as running it. Django's cursors
bind on the client and can prepare nothing; a cursor of the driver on Django's connection can.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from django.db import connection

from config.env import env


def execute(
    sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Run a constant statement on Django's connection, in its transaction if there is one.

    `sql` must be one of few texts: every different one stays prepared. Errors are Django's. JSON
    columns come as text.
    """
    connection.validate_no_broken_transaction()
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    began = time.monotonic()
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(connection.connection)
        cursor.execute(sql, parameters, prepare=env.database_prepared_statements)
    if connection.queries_logged:
        connection.queries_log.append({"sql": sql, "time": f"{time.monotonic() - began:.3f}"})
    return cursor


def array(values: Iterable[object]) -> str:
    """PostgreSQL's text of a one-dimensional array; None is NULL, the rest goes by `str`.

    The driver takes ten times as long for a list, and more than PostgreSQL for its rows.
    """
    return "{" + ",".join([_element(one) for one in values]) + "}"


def array_of_words(words: Iterable[str]) -> str:
    """The same, faster still, of words that need no quotes: ids, instants, the word NULL."""
    return "{" + ",".join(words) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if not isinstance(value, str):
        return str(value)
    if value.isalnum() and value.lower() != "null":
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
