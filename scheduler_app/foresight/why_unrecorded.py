"""Why a fire has no record: the first reason that fits, from what the schedule said at the time.

The order is from what excludes a fire for ever (before its creation, never by time, not of its
rule) over what kept it from being looked at (finished, disabled, paused) to what may still come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from executions_app import wording
from executions_app.models import AuditEntry, SystemState
from executions_app.retention import KEPT
from executions_app.wording import iso
from scheduler_app import coming, coming_rows, explain, next_run, system
from scheduler_app.foresight import past, why_retimed
from scheduler_app.foresight.past import Then
from scheduler_app.foresight.why_closed import closed_words
from scheduler_app.models import Schedule
from scheduler_app.next_run import InvalidTriggerConfigError, Rule
from scheduler_app.policies import FireReason, TriggerType

MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)
LOOKED_BACK: Final = tuple(timedelta(days=days) for days in (1, 8, 32, 367))
SILENT: Final = timedelta(seconds=15)  # a beat notes its tick at least every two seconds


@dataclass(frozen=True, slots=True)
class Absence:
    """Why there is no record of the fire at `at`; `code` is of a closed list."""

    at: datetime
    code: str
    sentence: str


def slack(at: datetime) -> timedelta:
    """What a person means by an instant: its minute, its second, or exactly it."""
    if at.microsecond:
        return timedelta(microseconds=1)
    return SECOND if at.second else MINUTE


def absence(schedule: Schedule, at: datetime, *, now: datetime) -> Absence:
    """Why nothing is recorded of a fire at `at`."""
    if at + slack(at) <= schedule.created_at:
        words = f"The schedule did not exist yet: it was created {iso(schedule.created_at)}."
        return Absence(at, "not_created", words)
    then = past.as_of(schedule, max(min(at, now), schedule.created_at))
    if then.words["trigger_type"] != "time_based":
        return Absence(at, "not_timed", _not_timed(str(then.words["trigger_type"])))
    nominal = _nominal(schedule, then, at)
    if nominal is None:
        return Absence(at, "not_a_fire", _not_a_fire(then, at))
    return next(_reasons(schedule, then, nominal, now=now))


def _not_timed(trigger_type: str) -> str:
    words = f"Time never starts it: it is {_a(trigger_type.replace('_', '-'))} schedule"
    is_manual = trigger_type == TriggerType.MANUAL
    return f"{words}." if is_manual else f"{words}, of which nothing is recorded then."


def _nominal(schedule: Schedule, then: Then, at: datetime) -> datetime | None:
    """The fire that is meant: of the rule, or where somebody moved the next run to."""
    moved = schedule.next_run_at
    if moved is not None and at <= moved < at + slack(at):
        return moved
    return next(then.fires(at, until=at + slack(at)), None)


def _reasons(
    schedule: Schedule, then: Then, nominal: datetime, *, now: datetime
) -> Iterator[Absence]:
    about = f"The fire of {iso(nominal)}"
    bound = _bound(then, nominal)
    if bound:
        yield Absence(nominal, "out_of_bounds", f"{about} does not count: {bound}.")
    if (held := _off(schedule, then, nominal, now=now)) is not None:
        yield held
    if put_off := why_retimed.sentence(schedule, nominal):
        yield Absence(nominal, "retimed", put_off)
    if nominal > now:
        yield _not_due(schedule, nominal, now=now)
    if schedule.enabled and schedule.next_run_at is not None and schedule.next_run_at <= nominal:
        yield _waiting(nominal, now=now)
    if nominal < now - KEPT:
        words = f"Nothing is recorded of {iso(nominal)}: records are kept for {KEPT.days} days."
        yield Absence(nominal, "not_kept", words)
    yield Absence(nominal, "unrecorded", _unrecorded(then, nominal))


def off(schedule: Schedule, *, now: datetime) -> Absence | None:
    """That it is disabled, finished or paused at this moment; None if it is not."""
    is_paused = schedule.paused_until is not None and schedule.paused_until > now
    if schedule.enabled and not is_paused:
        return None
    return _off(schedule, past.as_of(schedule, now), now, now=now)


def _off(schedule: Schedule, then: Then, at: datetime, *, now: datetime) -> Absence | None:
    if not then.enabled:
        return _disabled(schedule, then, at)
    if then.paused_until is None or then.paused_until <= at:
        return None
    until = wording.moment(then.paused_until, now=now)
    words = f"The schedule is paused until {until}{_by(then)}{_reason(then)}."
    return Absence(at, "paused", words)


def _bound(then: Then, nominal: datetime) -> str:
    if then.start_at is not None and nominal < then.start_at:
        return f"the schedule starts at {iso(then.start_at)}"
    if then.end_at is not None and nominal > then.end_at:
        return f"the schedule ended at {iso(then.end_at)}"
    return ""


def _disabled(schedule: Schedule, then: Then, nominal: datetime) -> Absence:
    if then.switched is None and not then.reason and schedule.fired_count:
        made = "one run" if schedule.fired_count == 1 else f"{schedule.fired_count} runs"
        words = f"The schedule was finished: it made {made} and has no more."
        return Absence(nominal, "finished", words)
    return Absence(nominal, "disabled", f"The schedule is disabled{_by(then)}{_reason(then)}.")


def _not_due(schedule: Schedule, nominal: datetime, *, now: datetime) -> Absence:
    words = f"Not due yet: it fires {wording.moment(nominal, now=now)}"
    reason, due_at = _prospect(schedule, nominal)
    if reason is not None and due_at is None:
        closed = closed_words(schedule, nominal)
        return Absence(nominal, "not_due", f"{words} and will be {reason} ({closed}).")
    if due_at is not None and due_at != nominal:
        return Absence(nominal, "not_due", f"{words} and may start at {iso(due_at)}.")
    return Absence(nominal, "not_due", f"{words}.")


def _prospect(schedule: Schedule, nominal: datetime) -> tuple[FireReason | None, datetime | None]:
    try:
        prospect = coming_rows.prospect(schedule)
    except InvalidTriggerConfigError:
        return None, None
    return (None, None) if prospect is None else coming.passed(prospect, nominal)


def _waiting(nominal: datetime, *, now: datetime) -> Absence:
    state = system.read()
    due = f"The fire of {wording.moment(nominal, now=now)} is due and waits"
    if not state.scheduler_running:
        words = f"{due}: the scheduler is stopped{_stopped_by(now)}; start it to have it run."
        return Absence(nominal, "stopped", words)
    if state.scheduler_last_tick_at is None or state.scheduler_last_tick_at < now - SILENT:
        return Absence(nominal, "no_beat", f"{due}: {_silence(state, now)}.")
    trouble = f" ({state.problem})" if state.problem else ""
    return Absence(nominal, "being_dispatched", f"{due} for the next round of a beat{trouble}.")


def _silence(state: SystemState, now: datetime) -> str:
    if state.scheduler_last_tick_at is None:
        return "no beat has looked at the clock yet"
    return f"the last look of a beat was {wording.moment(state.scheduler_last_tick_at, now=now)}"


def _stopped_by(now: datetime) -> str:
    entries = AuditEntry.objects.filter(object_type="system", action="system.stopped")
    entry = entries.order_by("-id").first()
    return (
        "" if entry is None else f" by {entry.actor} {wording.relative(entry.created_at, now=now)}"
    )


def _not_a_fire(then: Then, at: datetime) -> str:
    rule = then.rule()
    if rule is None:
        return f"{iso(at)} is no fire: the settings that the schedule had then make no rule."
    said = explain.describe(
        then.words["schedule_type"], then.words["schedule_config"], then.timezone
    )
    before = _fire_before(rule, then, at)
    after = next_run.next_run(rule, next_run.zone(then.timezone), at)
    near = " and ".join(iso(one) for one in (before, after) if one is not None)
    nearest = f"; the nearest fires are {near}" if near else ""
    return f"{iso(at)} is no fire of its rule ({said}){nearest}."


def _fire_before(rule: Rule, then: Then, at: datetime) -> datetime | None:
    zone = next_run.zone(then.timezone)
    for back in LOOKED_BACK:
        found = next_run.missed(rule, zone, first=at - back, until=at, keep=0)
        if found is not None:
            return found.newest
    return None


def _unrecorded(then: Then, nominal: datetime) -> str:
    words = f"Nothing is recorded of {iso(nominal)}, though its rule fires then"
    if not then.is_certain:
        return f"{words}; it was edited so often that what it said then is not certain."
    return f"{words}: no row tells why."


def _by(then: Then) -> str:
    return "" if then.switched is None else f" by {then.switched.by} since {iso(then.switched.at)}"


def _reason(then: Then) -> str:
    return f": {then.reason}" if then.reason else ""


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
