"""What will go wrong with a schedule that is valid as it stands: advice, never a refusal. Pure.

Each check answers findings of a closed list of codes; `lint_rows` reads what they look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import Any, Final

from executions_app.wording import duration, iso
from scheduler_app import coming, explain, next_run
from scheduler_app.coming import Coming, Prospect
from scheduler_app.cron import CronRule
from scheduler_app.limiting import key_templates
from scheduler_app.policies import CatchupPolicy, OutsideWindow, OverlapPolicy
from scheduler_app.windows import Openings

AHEAD: Final = timedelta(days=366)
FIRES_LOOKED_AT: Final = 200
MOST_CLOSED: Final = 400
INSTANT: Final = timedelta(microseconds=1)
MANY_AT_ONCE: Final = 10
ENOUGH_RUNS: Final = 5
CODES: Final[dict[str, str]] = {
    "never_fires": "it is enabled, and no fire will ever come",
    "window_never_opens": "all its fires fall where its window or calendar is closed",
    "dst_trap": "a change of the clock moves, drops or repeats a fire",
    "too_fast": "its executions take longer than its cadence leaves them",
    "collides": "many schedules fire in the same minute",
    "catchup_limit": "it catches up all missed fires, but only so few of them",
    "unknown_parameter": "the template of a key names what no time fire has",
    "offset_overtakes": "jitter makes a fire start after the next one",
    "expires_at_once": "an execution expires before it can have waited",
    "upstream_off": "a schedule it waits for never runs",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will go wrong, and what to do about it."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Looked:
    """Everything that the checks look at; `crowd` is how many others fire at a minute."""

    now: datetime
    prospect: Prospect | None
    enabled: bool
    overlap: OverlapPolicy
    catchup: CatchupPolicy
    catchup_limit: int
    task_config: Mapping[str, Any]
    limit_key: str = ""
    unique_key: str = ""
    run_ttl_ms: int | None = None
    durations: tuple[timedelta, ...] = ()
    crowd: Mapping[datetime, int] = field(default_factory=dict)
    idle_upstreams: tuple[str, ...] = ()

    def fires(self) -> list[Coming]:
        """Its next fires, up to FIRES_LOOKED_AT of the next year."""
        if self.prospect is None or not self.enabled:
            return []
        until = self.now + AHEAD
        return list(islice(coming.fires(self.prospect, now=self.now, until=until), FIRES_LOOKED_AT))


def findings(looked: Looked) -> list[Finding]:
    """Everything that the checks find."""
    fires = looked.fires()
    return [one for check in CHECKS for one in check(looked, fires)]


def _never_fires(looked: Looked, fires: list[Coming]) -> Iterator[Finding]:
    if not looked.enabled or looked.prospect is None or fires:
        return
    far = next(coming.nominals(looked.prospect, now=looked.now, until=_far(looked.now)), None)
    if far is None or looked.prospect.runs_left == 0:
        yield Finding("never_fires", "No fire will ever come; correct its rule, or disable it")


def _window_never_opens(looked: Looked, fires: list[Coming]) -> Iterator[Finding]:
    prospect = looked.prospect
    doors = None if prospect is None else prospect.doors
    if prospect is None or not fires or doors is None or doors.openings is None:
        return
    if doors.openings.next_opening(fires[0].nominal_at) is None:
        yield Finding("window_never_opens", "It never opens again; nothing will ever run")
    elif doors.outside is OutsideWindow.SKIP and not _finds_it_open(
        prospect, doors.openings, fires
    ):
        message = "Every fire to come falls where its window or calendar is closed, and is skipped"
        yield Finding("window_never_opens", f"{message}; move the rule, or the window")


def _finds_it_open(prospect: Prospect, openings: Openings, fires: list[Coming]) -> bool:
    """True if one of the fires of MOST_CLOSED openings to come falls into it."""
    nominal: datetime | None = fires[0].nominal_at
    for _ in range(MOST_CLOSED):
        if nominal is None or (prospect.ends_at is not None and nominal > prospect.ends_at):
            return False
        if openings.closed_by(nominal) is None:
            return True
        opening = openings.next_opening(nominal)
        if opening is None:
            return False
        nominal = next_run.next_run(prospect.rule, prospect.zone, opening - INSTANT)
    return False


def _dst_trap(looked: Looked, _fires: list[Coming]) -> Iterator[Finding]:
    if looked.prospect is None or not isinstance(looked.prospect.rule, CronRule):
        return
    rule, zone = looked.prospect.rule, looked.prospect.zone
    for warning in explain.clock_changes(rule, zone, after=looked.now):
        yield Finding("dst_trap", warning)


def _too_fast(looked: Looked, fires: list[Coming]) -> Iterator[Finding]:
    gap = _shortest_gap(fires)
    if gap is None or len(looked.durations) < ENOUGH_RUNS:
        return
    ordered = sorted(looked.durations)
    slow = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    if slow < gap:
        return
    effect = {
        OverlapPolicy.SKIP: "fires are skipped",
        OverlapPolicy.BUFFER_ONE: "fires wait, and those that find one waiting are skipped",
        OverlapPolicy.BUFFER_ALL: "more and more wait",
        OverlapPolicy.CANCEL_RUNNING: "runs are cancelled before they end",
        OverlapPolicy.ALLOW: "more and more run at once",
    }[looked.overlap]
    yield Finding(
        "too_fast",
        f"95 of 100 runs take up to {duration(slow)}, and it fires every {duration(gap)}: {effect}",
    )


def _collides(looked: Looked, fires: list[Coming]) -> Iterator[Finding]:
    minutes = (coming.minute_of(one.due_at) for one in fires if one.due_at is not None)
    crowded = [(looked.crowd[one] - 1, one) for one in minutes if one in looked.crowd]
    others, minute = max(crowded, default=(0, looked.now))
    if others >= MANY_AT_ONCE:
        message = f"At {iso(minute)} {others} other schedules fire in the same minute"
        yield Finding("collides", f"{message}; give it spread_ms, or another minute")


def _catchup_limit(looked: Looked, fires: list[Coming]) -> Iterator[Finding]:
    gap = _shortest_gap(fires)
    if looked.catchup is not CatchupPolicy.ALL or gap is None:
        return
    covered = gap * looked.catchup_limit
    if looked.catchup_limit == 1 or covered < timedelta(minutes=10):
        runs = "run" if looked.catchup_limit == 1 else "runs"
        yield Finding(
            "catchup_limit",
            f"catch-up 'all' makes up {looked.catchup_limit} {runs} at most, which is the last "
            f"{duration(covered)}; raise catchup_limit, or say 'latest'",
        )


def _unknown_parameter(looked: Looked, _fires: list[Coming]) -> Iterator[Finding]:
    if looked.prospect is None:
        return
    for name, template in (("limit_key", looked.limit_key), ("unique_key", looked.unique_key)):
        try:
            key_templates.render(template, looked.task_config)
        except key_templates.MissingValue as error:
            message = f"{name} {template!r} names {error.context['path']!r}"
            yield Finding(
                "unknown_parameter",
                f"{message}, which task_config does not have: of a fire by time it is '?'",
            )


def _offset_overtakes(looked: Looked, fires: list[Coming]) -> Iterator[Finding]:
    gap, doors = _shortest_gap(fires), looked.prospect and looked.prospect.doors
    if gap is not None and doors and timedelta(milliseconds=doors.jitter_ms) > gap:
        most = duration(timedelta(milliseconds=doors.jitter_ms))
        message = f"jitter moves a fire by up to {most}, and the next comes after {duration(gap)}"
        yield Finding("offset_overtakes", message)


def _expires_at_once(looked: Looked, _fires: list[Coming]) -> Iterator[Finding]:
    if looked.run_ttl_ms is not None and looked.run_ttl_ms < 2_000:
        message = f"run_ttl_ms is {looked.run_ttl_ms}: a busy moment is enough to lose a run"
        yield Finding("expires_at_once", message)


def _upstream_off(looked: Looked, _fires: list[Coming]) -> Iterator[Finding]:
    for name in looked.idle_upstreams:
        yield Finding("upstream_off", f"It waits for {name!r}, which is disabled or gone")


CHECKS: Final[tuple[Callable[[Looked, list[Coming]], Iterator[Finding]], ...]] = (
    _never_fires,
    _window_never_opens,
    _dst_trap,
    _too_fast,
    _collides,
    _catchup_limit,
    _unknown_parameter,
    _offset_overtakes,
    _expires_at_once,
    _upstream_off,
)


def _shortest_gap(fires: list[Coming]) -> timedelta | None:
    pairs = pairwise(fires)
    return min((after.nominal_at - before.nominal_at for before, after in pairs), default=None)


def _far(now: datetime) -> datetime:
    return now + timedelta(days=366 * 41)
