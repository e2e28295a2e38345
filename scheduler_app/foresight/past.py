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
    """A schedule as of an instant.

    `switched` is the act that had disabled or paused it, None where nobody did (what is finished
    disables itself). `reason` is why it was so; what stands in the row of a pause that is over is
    none.
    """

    words: Mapping[str, Any]
    anchor_at: datetime
    switched: Switch | None
    reason: str
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
    anchor_at, is_moved = schedule.anchor_at, False
    entries = _edits(schedule)
    taken_back = list(takewhile(lambda one: one.created_at > instant, entries))
    for entry in taken_back:
        is_moved = is_moved or _moves_anchor(entry)
        words.update({name: value for name, value in _before(entry).items() if name in words})
    past = entries[len(taken_back) :]
    if is_moved:  # else the row still has the grid of then
        anchor_at = _anchor(past, words) or anchor_at
    switch = _switch(past, words)
    return Then(
        words,
        anchor_at,
        switched=None if switch is None else Switch(switch.created_at, switch.actor),
        reason=_reason(past, switch, words),
        is_certain=len(entries) < MOST_EDITS,
    )


def _edits(schedule: Schedule) -> list[AuditEntry]:
    """The newest first; ids tell the order of different milliseconds only."""
    entries = AuditEntry.objects.filter(object_type="schedule", object_id=str(schedule.id))
    newest = entries.order_by("-id")[:MOST_EDITS]
    return sorted(newest, key=lambda entry: entry.created_at, reverse=True)


def _before(entry: AuditEntry) -> Mapping[str, Any]:
    """What the act replaced; an entry of the creation replaced nothing."""
    if entry.action == DISABLED and not entry.before:
        return {"enabled": True, "pause_reason": ""}
    return entry.before or {}


def _switch(entries: list[AuditEntry], words: Mapping[str, Any]) -> AuditEntry | None:
    """The act that disabled it, or paused it; None if the latest such act did the opposite."""
    name = "paused_until" if words["enabled"] else "enabled"
    latest = next((one for one in entries if name in _before(one)), None)
    return latest if latest is not None and not _turned_on(latest, name) else None


def _turned_on(entry: AuditEntry, name: str) -> bool:
    value = (entry.after or {}).get(name)
    return bool(value) if name == "enabled" else value is None


def _reason(entries: list[AuditEntry], switch: AuditEntry | None, words: Mapping[str, Any]) -> str:
    """Why it is off or paused: in the words of that act, or of the row if no act wrote them."""
    reason = str(words["pause_reason"])
    if switch is not None:
        is_told = words["enabled"] or switch.action == DISABLED
        return reason if is_told else str((switch.after or {}).get("pause_reason", ""))
    latest = next((one for one in entries if "pause_reason" in _before(one)), None)
    is_of_an_act = latest is not None and (latest.after or {}).get("pause_reason") == reason
    return "" if is_of_an_act else reason


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
