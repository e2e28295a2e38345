"""What a session found, for a person (text, Markdown) and for a program (JSON)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from benchmarks.profile import Profile
from benchmarks.quantities import readable, spread
from benchmarks.run import Session
from benchmarks.table import Judged, Result, tally

HOW_TO_READ: Final = (
    "Every number is the median of the runs, with half the distance between the lowest and the "
    "highest as its spread; ratios are between medians of the same session."
)
DURABLE: Final = (
    "PostgreSQL and Redis are the embedded ones, with everything on that makes a commit durable:"
)


def is_good(session: Session) -> bool:
    """Whether nothing that must be reached was missed, as far as it was measured at all.

    What is left open counts as missed, unless less than everything was asked for.
    """
    may_be_open = session.is_quick or not session.has_peers
    return not any(
        result.problem or _is_missed(judged, may_be_open=may_be_open)
        for result in session.results
        for judged in (result.musts or [])
    ) and not any(result.problem for result in session.results)


def _is_missed(judged: Judged, *, may_be_open: bool) -> bool:
    return judged.is_met is False or (judged.is_met is None and not may_be_open)


def last_line(session: Session) -> str:
    """The verdict on everything that was measured."""
    met, of = tally(session.results)
    return f"{met} of {of} targets met"


def document(session: Session) -> dict[str, Any]:
    """The session as `--json` prints it."""
    met, of = tally(session.results)
    return {
        "met": met,
        "of": of,
        "is_good": is_good(session),
        "runs": session.runs,
        "is_quick": session.is_quick,
        "has_peers": session.has_peers,
        "seconds": round(session.seconds),
        "machine": session.machine,
        "versions": session.versions,
        "settings": session.settings,
        "targets": [_result(one) for one in session.results],
    }


def _result(result: Result) -> dict[str, Any]:
    profile = result.measured.profile
    return {
        "name": result.target.name,
        "title": result.target.title,
        "unit": result.target.unit,
        "is_met": result.is_met,
        "problem": result.problem,
        "seconds": round(result.seconds, 1),
        "checks": [
            {
                "kind": one.check.kind,
                "words": one.check.words,
                "limit": one.check.limit,
                "number": one.number,
                "unit": one.check.unit,
                "is_met": one.is_met,
                "by": one.by,
            }
            for one in result.judged
        ],
        "quantities": {
            name: {"median": median(values), "spread": spread(values), "runs": list(values)}
            for name, values in result.measured.runs.items()
            if values
        },
        "table": list(result.measured.table),
        "settings": dict(result.measured.settings),
        "notes": list(result.measured.notes),
        "profile": None if profile is None else asdict(profile),
    }


def text(session: Session) -> str:
    """The session for a terminal; its last line is the verdict."""
    lines = [line for result in session.results for line in _lines(result)]
    return "\n".join([*lines, "", *_reservations(session), last_line(session)])


def _lines(result: Result) -> Iterator[str]:
    yield ""
    yield f"{result.target.name}  {result.target.title}"
    if result.problem:
        yield f"    could not be measured: {result.problem}"
    for name, values in result.measured.runs.items():
        if values:
            yield f"    {name:<34} {_quantity(values)} {result.target.unit}"
    for row in result.measured.table:
        yield "    " + "   ".join(f"{name} {_cell(one)}" for name, one in row.items())
    for one in result.judged:
        yield f"    {one.check.kind:<4} {one.check.words}: {one.in_words()}"
    for note in result.measured.notes:
        yield f"    {note}"


def _quantity(values: Sequence[float]) -> str:
    spreads = f" +-{spread(values) / 2:.0%}" if len(values) > 1 else ""
    return f"{readable(median(values))}{spreads}"


def _cell(one: Any) -> str:
    return readable(one) if isinstance(one, float) else str(one)


def _reservations(session: Session) -> list[str]:
    said = []
    if session.is_quick:
        said.append("Quick: less work, fewer schedules and one run; the full run decides.")
    if not session.has_peers:
        said.append("Without peers: ratios to them stay open.")
    return said


def markdown(session: Session) -> str:
    """The session as a page; the picture lies beside it."""
    parts = [
        "# What was measured",
        f"**{last_line(session)}** in {session.seconds / 60:.0f} minutes; runs: {session.runs}.",
        HOW_TO_READ,
        *_reservations(session),
        "![Cadenza and its peers](report.svg)",
        _overview(session),
        *(_section(one) for one in session.results),
        "## Where",
        _table(["", ""], [[name, str(one)] for name, one in session.machine.items()]),
        DURABLE,
        _table(["", ""], [[name, one] for name, one in session.settings.items()]),
        _table(["version of", ""], [[name, one] for name, one in session.versions.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _overview(session: Session) -> str:
    rows = [
        [
            result.target.name,
            result.target.title,
            one.check.kind,
            one.check.words,
            one.in_words(),
        ]
        for result in session.results
        for one in result.judged
    ]
    return _table(["target", "work", "", "promised", "measured"], rows)


def _section(result: Result) -> str:
    parts = [f"## {result.target.name}: {result.target.title}"]
    if result.problem:
        parts.append(f"Could not be measured:\n\n```\n{result.problem}\n```")
    rows = [
        [name, _quantity(values), ", ".join(map(readable, values))]
        for name, values in result.measured.runs.items()
        if values
    ]
    if rows:
        parts.append(_table(["", result.target.unit, "runs"], rows))
    if result.measured.table:
        names = list(result.measured.table[0])
        cells = [[_cell(row.get(name, "")) for name in names] for row in result.measured.table]
        parts.append(_table(names, cells))
    parts += [f"- {note}" for note in result.measured.notes]
    parts += [f"- {name}: {_words(how)}" for name, how in result.measured.settings.items()]
    parts += _profile(result.measured.profile)
    return "\n\n".join(parts[:2]) + "".join(f"\n\n{one}" for one in parts[2:])


def _profile(profile: Profile | None) -> list[str]:
    if profile is None:
        return []
    tables = [rows for rows in (profile.processes, profile.functions) if rows]
    return [
        "Where the time of the processors went in one further run, which was being looked at:",
        *(
            _table(list(rows[0]), [[str(one) for one in row.values()] for row in rows])
            for rows in tables
        ),
    ]


def _words(how: Any) -> str:
    if isinstance(how, Mapping):
        return ", ".join(f"{name} {value}" for name, value in how.items())
    return str(how)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
