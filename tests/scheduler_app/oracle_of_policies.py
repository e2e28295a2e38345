"""A second opinion on what becomes of due fires, written from the rules of the user guide alone.

It works on minutes before `now` and on words, one rule after the other, and shares nothing with
the product.
"""

from __future__ import annotations

from dataclasses import dataclass

ON_TIME_MINUTES = 10 / 60


@dataclass(frozen=True)
class Case:
    """Minutes before now, ascending in time; `opens_in` from now; None: never opens."""

    ages: tuple[float, ...]
    rest: tuple[int, int, int] | None
    overlap: str
    catchup: str
    catchup_limit: int
    too_old_after: int | None
    is_active: bool
    held: int
    buffer_limit: int
    runs_left: int | None
    closed_ages: frozenset[float]
    opens_in: int | None
    outside: str


Fate = tuple[float, str, str, float | None]
"""Age, reason, entry (of those that run), and in how many minutes it opens, if it waits for that"""


def fates(case: Case) -> list[Fate]:
    if case.runs_left == 0:
        return []
    shut = {age for age in case.ages if is_shut(case, age)}
    given_up = {age for age in shut if case.outside == "skip" or case.opens_in is None}
    candidates = sorted((age for age in case.ages if age not in given_up), reverse=True)
    most = case.catchup_limit if case.catchup == "all" else 1
    running = [age for age in candidates[-most:] if not is_old(case, age)]
    told: dict[float, Fate] = {age: (age, "skipped_window", "", None) for age in given_up}
    for age in candidates:
        told[age] = (age, missed(case, age), "", None)
    told.update(overlapped(case, running, shut))
    listed = [told[age] for age in case.ages]
    if case.rest:
        listed.insert(0, (case.rest[0], missed(case, case.rest[1]), "", None))
    return until_the_last_run(case, listed)


def is_shut(case: Case, age: float) -> bool:
    """Closed when it was planned, or, if it comes late, closed now."""
    is_late = age > ON_TIME_MINUTES
    return age in case.closed_ages or (is_late and 0 in case.closed_ages)


def is_old(case: Case, age: float) -> bool:
    limits = [] if case.too_old_after is None else [float(case.too_old_after)]
    if case.catchup == "none":
        limits.append(ON_TIME_MINUTES)
    return any(age > one for one in limits)


def missed(case: Case, age: float) -> str:
    return "missed_too_old" if is_old(case, age) else "missed_coalesced"


def overlapped(case: Case, running: list[float], shut: set[float]) -> dict[float, Fate]:
    busy, held = case.is_active, case.held
    told: dict[float, Fate] = {}
    for age in running:
        waits = case.opens_in if age in shut else None
        entry = "run"
        if case.overlap == "cancel_running" and age != running[-1]:
            entry = ""
        elif busy and case.overlap != "allow":
            room = {"skip": 0, "buffer_one": 1, "buffer_all": case.buffer_limit}
            if case.overlap == "cancel_running":
                entry = "replace"
            elif held < room[case.overlap]:
                entry, held = "wait", held + 1
            else:
                entry = ""
        busy = busy or bool(entry)
        told[age] = (
            (age, "dispatched", entry, waits) if entry else (age, "skipped_overlap", "", None)
        )
    return told


def until_the_last_run(case: Case, listed: list[Fate]) -> list[Fate]:
    kept: list[Fate] = []
    for one in listed:
        if case.runs_left is not None and sum(1 for k in kept if k[2]) == case.runs_left:
            break
        kept.append(one)
    return kept
