"""How PostgreSQL carries out what the product really sends: the plan of every statement, with
the rows and pages it touched.

A watched statement is first explained, with its own parameters, under a savepoint that takes back
what it did; then it runs. What the driver would prepare is explained as a prepared statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg._queries import PostgresQuery

EXPLAIN: Final = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ")
EXPLAINED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "(")
MOST_SCANNED: Final = 10_000  # rows; a list looks through half as many where it has no index
MOST_SORTED: Final = 2_000  # rows; a page of a list or a batch, not a table


@dataclass(frozen=True)
class Plan:
    """One statement as it was carried out."""

    statement: str
    tree: Mapping[str, Any]

    @property
    def pages(self) -> int:
        """Of 8 kB, read or found in the cache.

        What a `WITH` writes and nobody reads is written after the answer: the whole does not count
        it, so each part is counted by itself. A scan of a `WITH` is what that has cost already.
        """
        return sum(_own_pages(node) for node in self.nodes if node["Node Type"] != "CTE Scan")

    @cached_property
    def nodes(self) -> list[Mapping[str, Any]]:
        return list(_walk(self.tree))

    def most_scanned(self) -> int:
        """The most rows that it read of one table without an index."""
        scans = [node for node in self.nodes if node["Node Type"] == "Seq Scan"]
        return max((_rows_read(node) for node in scans), default=0)

    def most_sorted(self) -> int:
        """The most rows that went into one sort."""
        return max(
            (
                int(part["Actual Rows"] * part["Actual Loops"])
                for node in self.nodes
                if node["Node Type"] == "Sort"
                for part in node["Plans"]
            ),
            default=0,
        )

    def __str__(self) -> str:
        lines = [f"{self.pages} pages: {' '.join(self.statement.split())[:600]}"]
        for node in self.nodes:
            names = [node.get(name, "") for name in ("Node Type", "Relation Name", "Index Name")]
            rows = f"{node['Actual Rows']:g} x {node['Actual Loops']:g}"
            removed = node.get("Rows Removed by Filter", 0)
            if node["Actual Loops"]:
                lines.append(f"    {' '.join(filter(None, names))}: {rows} rows, {removed} removed")
        return "\n".join(lines)


@dataclass
class Seen:
    """The plans of all that was sent meanwhile."""

    plans: list[Plan] = field(default_factory=list)

    def of(self, pattern: str) -> list[Plan]:
        """The plans of the statements in which a pattern is found."""
        return [one for one in self.plans if re.search(pattern, one.statement)]

    def must_cost_little(self, *, pages: int, sorted_rows: int = MOST_SORTED) -> None:
        """Fail if any statement read a large table whole, sorted much, or touched more pages."""
        wrong = [
            str(one)
            for one in self.plans
            if one.most_scanned() > MOST_SCANNED
            or one.most_sorted() > sorted_rows
            or one.pages > pages
        ]
        assert self.plans, "nothing was sent"
        assert not wrong, "\n".join(wrong)


@contextmanager
def watched() -> Iterator[Seen]:
    """See the plan of every statement of this process meanwhile; needs an open transaction."""
    seen, run = Seen(), psycopg.Cursor.execute
    is_explaining = False

    def execute(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
        nonlocal is_explaining
        text = query if isinstance(query, str) else sql.SQL("{}").format(query).as_string(cursor)
        if not is_explaining and text.lstrip().startswith(EXPLAINED):
            is_explaining = True
            try:
                seen.plans.append(Plan(text, _explain(cursor.connection, text, params, cursor)))
            finally:
                is_explaining = False
        return run(cursor, query, params, **options)

    setattr(psycopg.Cursor, "execute", execute)  # noqa: B010  to look on, not to change
    try:
        yield seen
    finally:
        setattr(psycopg.Cursor, "execute", run)  # noqa: B010  as it was


def _explain(raw: Any, text: str, params: Any, cursor: Any) -> Mapping[str, Any]:
    with raw.transaction(force_rollback=True), psycopg.ClientCursor(raw) as own:
        if isinstance(cursor, psycopg.ClientCursor):
            own.execute(EXPLAIN + sql.SQL(text), params)
        else:
            values = sql.SQL(", ").join(sql.Literal(one) for one in _in_order(text, params))
            call = sql.SQL("EXECUTE {}({})" if params else "EXECUTE {}")
            own.execute(EXPLAIN + call.format(sql.Identifier(_prepared(own, text, params)), values))
        tree: Mapping[str, Any] = own.fetchone()[0][0]["Plan"]  # type: ignore[index]  # one row
        own.execute("SELECT name FROM pg_prepared_statements WHERE name = 'explained'")
        if own.fetchone():
            own.execute("DEALLOCATE explained")
    return tree


def _in_order(text: str, params: Any) -> Sequence[Any]:
    """The values as the driver numbers them: one that has a name has one number."""
    if isinstance(params, Mapping):
        return [params[name] for name in dict.fromkeys(re.findall(r"%\((\w+)\)s", text))]
    return params or ()


def _prepared(own: Any, text: str, params: Any) -> str:
    """The name under which the driver has prepared the statement; else it is prepared here."""
    converted = PostgresQuery(psycopg.adapt.Transformer(own.connection))
    converted.convert(text, params)
    numbered = converted.query.decode()
    own.execute("SELECT name FROM pg_prepared_statements WHERE statement = %s", [numbered])
    if found := own.fetchone():
        return str(found[0])
    own.execute(sql.SQL("PREPARE explained AS ") + sql.SQL(numbered))
    return "explained"


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for part in node.get("Plans", ()):
        yield from _walk(part)


def _own_pages(node: Mapping[str, Any]) -> int:
    """Those that none of its parts has touched; a `WITH` is a part of who reads it."""
    parts = (one for one in node.get("Plans", ()) if not _is_with(one))
    return max(0, _pages(node) - sum(_pages(one) for one in parts))


def _is_with(node: Mapping[str, Any]) -> bool:
    return str(node.get("Subplan Name", "")).startswith("CTE ")


def _pages(node: Mapping[str, Any]) -> int:
    return int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"])


def _rows_read(node: Mapping[str, Any]) -> int:
    each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return int(each * node["Actual Loops"])
