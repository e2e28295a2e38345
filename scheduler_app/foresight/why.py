"""Why a fire did or did not run: answered from the rows alone, for people who ask afterwards.

A fire has a record, then the record and its execution tell it; or it has none, then the first of a
closed list of reasons that fits does. Where no row explains it, the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from errors_app.models import ErrorRecord
from executions_app import ids, wording
from executions_app.models import Execution
from executions_app.states import Trigger
from executions_app.wording import iso
from scheduler_app.foresight import past, why_refused, why_words
from scheduler_app.foresight.past import Then
from scheduler_app.foresight.why_closed import closed_words
from scheduler_app.foresight.why_unrecorded import Absence, absence, off, slack
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.policies import FireReason, TriggerType

OVERDUE: Final = timedelta(seconds=2)  # a beat looks once a second
OTHERS_LOOKED_AT: Final = 200
OTHERS_NAMED: Final = 5
STARTED: Final = (TriggerType.EVENT_DRIVEN, TriggerType.DEPENDENT)  # by what happens


@dataclass(frozen=True, slots=True)
class Why:
    """The answer: `code` is the reason of the record, or why there is none."""

    at: datetime
    code: str
    sentence: str
    fire: FireRecord | None = None
    execution: Execution | None = None


def explain(schedule: Schedule, *, at: datetime | None, now: datetime) -> Why:
    """Why the fire at `at` did or did not run.

    Without `at` the latest one, and whether the schedule is disabled or paused since.
    """
    if at is None:
        return _with_what_holds_it(schedule, _latest(schedule, now), now=now)
    fire = recorded(schedule, at)
    if fire is not None:
        return of_record(schedule, fire, now=now)
    until = at + slack(at)
    started = _started_by_event(schedule, since=at, until=until)
    if started is not None:
        return _of_event(started, now=now)
    refused = why_refused.refused(schedule, since=at, until=until)
    if refused is not None:
        return _of_refusal(schedule, refused)
    return _of_nothing(schedule, absence(schedule, at, now=now), now=now)


def recorded(schedule: Schedule, at: datetime) -> FireRecord | None:
    """The record of the fire at `at`, or of the stretch of fires that it belongs to.

    An instant without seconds means any fire of that minute, one without fractions of that second.
    """
    fires = FireRecord.objects.filter(schedule_id=schedule.id)
    near = fires.filter(nominal_at__gte=at, nominal_at__lt=at + slack(at))
    found = near.order_by("nominal_at", "cause").first()
    if found is not None:
        return found
    before = fires.filter(nominal_at__lte=at, cause="").order_by("-nominal_at").first()
    if before is None or before.nominal_until is None or before.nominal_until < at:
        return None
    return before if _is_a_fire(past.as_of(schedule, at), at) else None


def of_record(schedule: Schedule, fire: FireRecord, *, now: datetime) -> Why:
    """The answer for a fire that has a record."""
    reason = FireReason(fire.reason)
    is_overlap = reason is FireReason.SKIPPED_OVERLAP
    then = past.as_of(schedule, max(fire.created_at, schedule.created_at))
    execution = None
    if fire.execution_id is not None:
        execution = Execution.objects.filter(id=fire.execution_id).first()
    sentence = why_words.sentence(
        why_words.Facts(
            fire=fire,
            execution=execution,
            others=tuple(_active_then(schedule, fire)) if is_overlap else (),
            overlap_policy=str(then.words["overlap_policy"]),
            pause_reason=_pause_reason(schedule, fire),
            closed_by=closed_words(schedule, fire.nominal_at),
            now=now,
        )
    )
    return Why(fire.nominal_at, fire.reason, sentence, fire, execution)


def _latest(schedule: Schedule, now: datetime) -> Why:
    due = schedule.next_run_at
    if schedule.enabled and due is not None and due <= now - OVERDUE:
        return _of_absence(absence(schedule, due, now=now))
    last = _last(schedule, until=None, now=now)
    return last or _of_absence(absence(schedule, due or now, now=now))


def _with_what_holds_it(schedule: Schedule, latest: Why, *, now: datetime) -> Why:
    held = off(schedule, now=now)
    if held is None or held.code == latest.code:
        return latest
    return replace(latest, sentence=f"{latest.sentence} {held.sentence}")


def _last(schedule: Schedule, *, until: datetime | None, now: datetime) -> Why | None:
    """The last that is known of it.

    A record or, since these leave none, a start by an event or one that lacked a value.
    """
    fires = FireRecord.objects.filter(schedule_id=schedule.id)
    if until is not None:
        fires = fires.filter(nominal_at__lt=until)
    fire = fires.order_by("-nominal_at").first()
    started = _started_by_event(schedule, since=None, until=until)
    refused = why_refused.refused(schedule, since=None, until=until)
    known = [one for one in (fire, started, refused) if one is not None]
    match max(known, key=lambda one: one.created_at, default=None):
        case Execution() as execution:
            return _of_event(execution, now=now)
        case ErrorRecord() as error:
            return _of_refusal(schedule, error)
        case FireRecord() as record:
            return of_record(schedule, record, now=now)
    return None


def _started_by_event(
    schedule: Schedule, *, since: datetime | None, until: datetime | None
) -> Execution | None:
    if schedule.trigger_type != TriggerType.EVENT_DRIVEN:
        return None
    rows = Execution.objects.filter(schedule_id=schedule.id, trigger=Trigger.EVENT)
    if since is not None:
        rows = rows.filter(id__gte=ids.floor(since))
    if until is not None:
        rows = rows.filter(id__lt=ids.floor(until))
    return rows.order_by("-id").first()


def _of_event(execution: Execution, *, now: datetime) -> Why:
    told = f"became execution #{execution.number}. {wording.why(execution, now=now)}"
    heard_at = ids.instant(execution.id)
    sentence = f"The event of {iso(heard_at)} {told}"
    return Why(heard_at, FireReason.DISPATCHED, sentence, None, execution)


def _of_refusal(schedule: Schedule, error: ErrorRecord) -> Why:
    sentence = why_refused.sentence(schedule, error)
    return Why(error.ended_at, why_refused.NOT_STARTED, sentence)


def _of_nothing(schedule: Schedule, found: Absence, *, now: datetime) -> Why:
    """Why there is none; for what events or upstreams start, with the last one before it."""
    is_started = found.code == "not_timed" and schedule.trigger_type in STARTED
    last = _last(schedule, until=found.at, now=now) if is_started else None
    if last is None:
        return _of_absence(found)
    sentence = f"{found.sentence} The last one before: {last.sentence}"
    return Why(found.at, found.code, sentence, last.fire, last.execution)


def _of_absence(found: Absence) -> Why:
    return Why(found.at, found.code, found.sentence)


def _is_a_fire(then: Then, at: datetime) -> bool:
    return any(then.fires(at, until=at + slack(at)))


def _active_then(schedule: Schedule, fire: FireRecord) -> Iterator[Execution]:
    """The executions of the schedule that had not ended when the fire was looked at."""
    newest = Execution.objects.filter(
        schedule_id=schedule.id, id__lt=ids.floor(fire.created_at)
    ).order_by("-id")
    looked_at = newest.values("id")[:OTHERS_LOOKED_AT]
    open_then = Q(completed_at__isnull=True) | Q(completed_at__gt=fire.created_at)
    found = Execution.objects.filter(open_then, id__in=list(looked_at.values_list("id", flat=True)))
    yield from found.order_by("id")[:OTHERS_NAMED]


def _pause_reason(schedule: Schedule, fire: FireRecord) -> str:
    if fire.reason != FireReason.SKIPPED_PAUSED:
        return ""
    return str(
        past.as_of(schedule, max(fire.nominal_at, schedule.created_at)).words["pause_reason"]
    )
