"""What a schedule said at an instant of the past, when one of its fires was due.

Only the present is stored; every edit has left in the audit log what it replaced, and taking the
newer edits back, the newest first, gives the words of any earlier instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from executions_app.models import AuditEntry
from scheduler_app import edits, next_run
from scheduler_app.models import Schedule
from scheduler_app.next_run import InvalidTriggerConfigError, Rule
from scheduler_app.rules import parse_interval

MOST_EDITS: Final = 1_000  # taken back; beyond them it is not certain what a schedule said
RULE: Final = ("trigger_type", "schedule_type", "schedule_config", "timezone")
BOUNDS: Final = ("enabled", "paused_until", "pause_reason", "start_at", "end_at")
POLICIES: Final = ("overlap_policy", "catchup_policy", "catchup_limit", "catchup_window_ms")
SAID: Final = (*RULE, *BOUNDS, *POLICIES)
CREATED: Final = "schedule.created"
DISABLED: Final = "schedule.disabled"


@dataclass(frozen=True, slots=True)
class Switch:
    """Who turned a schedule off or paused it, and when."""

    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Then:
    """A schedule as of an instant; `switched` is the latest switch or pause before it."""

    words: Mapping[str, Any]
    anchor_at: datetime
    switched: Switch | None
    is_certain: bool

    @property
    def enabled(self) -> bool:
        return bool(self.words["enabled"])

    @property
    def paused_until(self) -> datetime | None:
        return _instant(self.words["paused_until"])

    @property
    def start_at(self) -> datetime | None:
        return _instant(self.words["start_at"])

    @property
    def end_at(self) -> datetime | None:
        return _instant(self.words["end_at"])

    @property
    def timezone(self) -> str:
        return str(self.words["timezone"])

    def fires(self, first: datetime, *, until: datetime) -> Iterator[datetime]:
        """The fires of its rule from `first` to before `until`, whatever its bounds say."""
        rule = self.rule()
        if rule is not None:
            zone = next_run.zone(self.timezone)
            coming = next_run.fires(rule, zone, after=first - timedelta(microseconds=1))
            yield from takewhile(lambda fire: fire < until, coming)

    def rule(self) -> Rule | None:
        """Its rule; None where time never starts it, or no rule can be made of what it said."""
        if self.words["trigger_type"] != "time_based":
            return None
        try:
            return next_run.parse_rule(
                self.words["schedule_type"],
                self.words["schedule_config"],
                anchor_at=self.anchor_at,
            )
        except InvalidTriggerConfigError:
            return None


def as_of(schedule: Schedule, instant: datetime) -> Then:
    """What `schedule` said at `instant`, which is not before its creation."""
    words: dict[str, Any] = {name: getattr(schedule, name) for name in SAID}
    anchor_at, switched, is_moved = schedule.anchor_at, None, False
    entries = list(_edits(schedule))
    for place, entry in enumerate(entries):
        if entry.created_at <= instant:
            switched = _last_switch(entries[place:])
            if is_moved:  # else the row still has the grid of then
                anchor_at = _anchor(entries[place:], words) or anchor_at
            break
        is_moved = is_moved or _moves_anchor(entry)
        words.update({name: value for name, value in _before(entry).items() if name in words})
    return Then(words, anchor_at, switched, is_certain=len(entries) < MOST_EDITS)


def _edits(schedule: Schedule) -> list[AuditEntry]:
    """The newest first."""
    entries = AuditEntry.objects.filter(object_type="schedule", object_id=str(schedule.id))
    return list(entries.order_by("-id")[:MOST_EDITS])


def _before(entry: AuditEntry) -> Mapping[str, Any]:
    """What the act replaced; an entry of the creation replaced nothing."""
    if entry.action == DISABLED and not entry.before:
        return {"enabled": True, "pause_reason": ""}
    return entry.before or {}


def _last_switch(entries: list[AuditEntry]) -> Switch | None:
    for entry in entries:
        if not {"enabled", "paused_until", "pause_reason"}.isdisjoint(_before(entry)):
            return Switch(entry.created_at, entry.actor)
    return None


def _moves_anchor(entry: AuditEntry) -> bool:
    return entry.action == CREATED or edits.moves_anchor(_before(entry))


def _anchor(entries: list[AuditEntry], words: Mapping[str, Any]) -> datetime | None:
    """Where the latest of these acts that moves the grid has put it: then, or so as to start."""
    moved_at = next((one.created_at for one in entries if _moves_anchor(one)), None)
    start_at = _instant(words["start_at"])
    if moved_at is None or start_at is None or start_at <= moved_at:
        return moved_at
    if words["schedule_type"] != "interval":
        return moved_at
    return start_at - parse_interval(words["schedule_config"])


def _instant(value: Any) -> datetime | None:
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    return None if read is None else read.astimezone(UTC)
