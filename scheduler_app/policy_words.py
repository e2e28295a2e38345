"""What is said about a schedule, in words: what starts it, and what bounds its runs.

For people who look at one, on the terminal and in the admin; `explain` says what a rule means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from executions_app.wording import duration, iso
from scheduler_app import explain
from scheduler_app.models import Schedule
from scheduler_app.models_limits import UniqueMode
from scheduler_app.policies import CatchupPolicy, OutsideWindow, OverlapPolicy, TriggerType

ENDED: Final = {"success": "has succeeded", "failure": "has failed", "end": "has ended"}
OVERLAP: Final = {
    OverlapPolicy.SKIP: "a fire is skipped while an execution has not ended",
    OverlapPolicy.BUFFER_ONE: "one waits until the others have ended, further ones are skipped",
    OverlapPolicy.CANCEL_RUNNING: "a new one takes the place of those that have not ended",
    OverlapPolicy.ALLOW: "any number run beside each other",
}
UNIQUE: Final = {
    UniqueMode.WHILE_ACTIVE: "until it has ended",
    UniqueMode.FOR_TIME: "for {}",
    UniqueMode.DEBOUNCE: "a new one puts the waiting one off by {}",
    UniqueMode.REPLACE: "a new one takes its place",
}


def starts(schedule: Schedule, names: Mapping[str, str] | None = None) -> str:
    """What starts it; `names` are those of its upstreams by id, else they are only counted."""
    match schedule.trigger_type:
        case TriggerType.TIME_BASED:
            return explain.describe(
                schedule.schedule_type, schedule.schedule_config, schedule.timezone
            )
        case TriggerType.EVENT_DRIVEN:
            event = schedule.trigger_config.get("event")
            return f"at every {event}" if event else "at every signed webhook"
        case TriggerType.DEPENDENT:
            return _after(schedule, names or {})
    return "only by hand"


def upstream_names(schedule: Schedule) -> dict[str, str]:
    """The names of the schedules that it depends on, by id."""
    ids = schedule.trigger_config.get("upstreams", [])
    rows = Schedule.objects.filter(id__in=ids) if ids else Schedule.objects.none()
    return {str(one): name for one, name in rows.values_list("id", "name")}


def bounds(schedule: Schedule) -> Iterator[tuple[str, str]]:
    """What else decides about its runs: a label and a sentence each; nothing for a default."""
    yield "overlap", _overlap(schedule)
    yield "missed fires", _missed(schedule)
    if schedule.start_at or schedule.end_at or schedule.max_runs:
        yield "bounds", ", ".join(_span(schedule))
    if schedule.execution_window or schedule.calendar_id:
        yield "window", _window(schedule)
    if schedule.jitter_ms or schedule.spread_ms:
        most = schedule.jitter_ms + schedule.spread_ms
        yield "delay", f"starts up to {_ms(most)} later"
    if schedule.run_ttl_ms:
        yield "dropped", f"if it has not started {_ms(schedule.run_ttl_ms)} after it was due"
    if schedule.pause_after_failures:
        yield "pauses itself", f"after {schedule.pause_after_failures} failures in a row"
    if schedule.max_concurrent:
        yield "at once", f"at most {schedule.max_concurrent}"
    if schedule.limit_key:
        yield "limited by", schedule.limit_key
    if schedule.unique_key:
        lasts = UNIQUE[UniqueMode(schedule.unique_mode)].format(_ms(schedule.unique_for_ms or 0))
        yield "unique", f"{schedule.unique_key}: {lasts}"


def _after(schedule: Schedule, names: Mapping[str, str]) -> str:
    config = schedule.trigger_config
    upstreams = config.get("upstreams", [])
    ended = ENDED[config.get("on", "success")]
    quantity = "each" if config.get("mode") == "all" else "one"
    if not names:
        of = f"{quantity} of {len(upstreams)} schedules" if len(upstreams) > 1 else "its upstream"
    else:
        named = ", ".join(repr(names.get(one, one)) for one in upstreams)
        of = f"{quantity} of {named}" if len(upstreams) > 1 else named
    return f"when {of} {ended}"


def _overlap(schedule: Schedule) -> str:
    policy = OverlapPolicy(schedule.overlap_policy)
    if policy is OverlapPolicy.BUFFER_ALL:
        return f"up to {schedule.buffer_limit} wait until the others have ended"
    return OVERLAP[policy]


def _missed(schedule: Schedule) -> str:
    most = schedule.catchup_limit
    what = {
        CatchupPolicy.LATEST: "the newest runs",
        CatchupPolicy.ALL: f"the newest {most} run" if most > 1 else "the newest runs",
        CatchupPolicy.NONE: "none runs",
    }[CatchupPolicy(schedule.catchup_policy)]
    window = schedule.catchup_window_ms
    return what if window is None else f"{what}, if not older than {_ms(window)}"


def _span(schedule: Schedule) -> Iterator[str]:
    if schedule.start_at:
        yield f"from {iso(schedule.start_at)}"
    if schedule.end_at:
        yield f"until {iso(schedule.end_at)}"
    if schedule.max_runs:
        yield f"{schedule.max_runs} runs at most, {schedule.fired_count} made"


def _window(schedule: Schedule) -> str:
    words = schedule.execution_window
    parts = [", ".join(words.get("weekdays", [])), ", ".join(words.get("hours", []))]
    if schedule.calendar is not None:
        parts.append(f"on the days of {schedule.calendar.name!r}")
    is_moved = schedule.outside_window == OutsideWindow.NEXT_OPENING
    outside = "else it waits for the next opening" if is_moved else "else it is skipped"
    return f"{' '.join(part for part in parts if part)}; {outside}"


def _ms(length: int) -> str:
    return duration(timedelta(milliseconds=length))
