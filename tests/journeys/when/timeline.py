"""Schedules of every kind in one stretch of time: made, let run, and left for tests to judge.

All fire each second from `zero` on. Those of the first part end after LAST; those that are caught
up late begin shortly before both beats are killed, and go on until these are back. What is paused
goes on as long, so that a pause lasts however long it takes to say it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from config.env import env
from executions_app.models import Execution
from scheduler_app.models import Schedule
from tests import terminal
from tests.journeys import scenario
from tests.journeys.when.door import Door
from tests.processes import System

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
ZONE = "Asia/Kathmandu"
LAST = 5
TO_SET_UP = 3 * SECOND  # where it takes longer, it is done again with twice the time it took
MOST_TRIES = 4
# So long before its instant a fire may have been written down.
PREPARED = timedelta(milliseconds=env.scheduler_ahead_ms)
PAUSED_FOR = 7 * SECOND  # until the beats are back: nothing waits for its end alone
UNIQUE_FOR_MS = 2500
SLOW = 1.4 * SECOND
OVERLAPS = ("skip", "buffer_one", "buffer_all", "cancel_running", "allow")
BUFFERED = 2
SPREAD = ("spread-1", "spread-2", "spread-3")
HERD = ("herd-1", "herd-2", "herd-3")
KEPT_ON = ("hopeless", "paused", *HERD)
LATER = "opens later"
CATCHUPS: dict[str, dict[str, Any]] = {
    "latest": {"catchup_policy": "latest"},
    "all": {"catchup_policy": "all", "catchup_limit": 100},
    "last two": {"catchup_policy": "all", "catchup_limit": 2},
    "none": {"catchup_policy": "none"},
    "one at a time": {"catchup_policy": "all", "catchup_limit": 100, "overlap_policy": "skip"},
}


@dataclass
class Ran:
    """What was made and done, and when."""

    zero: datetime
    ids: dict[str, str] = field(default_factory=dict)
    forecast: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pausing_at: datetime = field(init=False)  # before the first pause was asked for
    paused_at: datetime = field(init=False)  # after the last was answered
    pause_ends_at: datetime = field(init=False)  # of the one that has an end

    @property
    def ends_at(self) -> datetime:
        return self.zero + LAST * SECOND

    @property
    def opens_at(self) -> datetime:
        """When the window of those that wait for it opens: a whole minute."""
        return (self.zero + 120 * SECOND).replace(second=0)

    @property
    def blackout(self) -> tuple[datetime, datetime]:
        return self.zero + 1.5 * SECOND, self.zero + 3.5 * SECOND

    def grid(self) -> list[datetime]:
        """The oracle of the first part: each second, both ends included."""
        return self.first(LAST + 1)

    def first(self, count: int) -> list[datetime]:
        """The first so many seconds."""
        return [self.zero + SECOND * k for k in range(count)]


def run(system: System, door: Door) -> Ran:
    """Everything is made before `zero`, and over when this answers."""
    ran = _set_up(system, door)
    _pause_and_resume(system, door, ran)
    _have_a_downtime(system, ran)
    _let_end(system, ran)
    return ran


def _set_up(system: System, door: Door) -> Ran:
    """All is made and foretold before `zero`; where that took too long, it is made for a later."""
    enough = TO_SET_UP
    for _ in range(MOST_TRIES):
        began = datetime.now(UTC)
        ran = Ran((began + enough + SECOND).replace(microsecond=0))
        _make_calendars(ran, door)
        with ThreadPoolExecutor(4) as pool:
            made = pool.map(lambda one: door.create(one[0], **one[1]), _words(ran).items())
            ran.ids = {one["name"]: one["id"] for one in made}
        for one in door.get("scheduler/upcoming?hours=1&limit=1000")["fires"]:
            ran.forecast.setdefault(one["name"], []).append(one)
        if datetime.now(UTC) < ran.zero - PREPARED:
            return ran
        enough = 2 * (datetime.now(UTC) - began)
        scenario.clear(system)
        for one in door.get("scheduler/calendars")["results"]:
            door.delete(f"scheduler/calendars/{one['id']}")
    raise AssertionError("setting it all up took too long")


def _make_calendars(ran: Ran, door: Door) -> None:
    begins, ends = (one.isoformat() for one in ran.blackout)
    door.post(
        "scheduler/calendars",
        {
            "name": "works",
            "weekend": [],
            "blackouts": [{"from": begins, "to": ends, "reason": "moving house"}],
        },
    )
    shown = ran.zero.astimezone(ZoneInfo(ZONE)).date()
    days = [str(shown + timedelta(days=more)) for more in (0, 1)]
    holidays = [{"date": day, "name": "Dashain"} for day in days]
    door.post(
        "scheduler/calendars",
        {"name": "feasts", "weekend": [], "timezone": ZONE, "holidays": holidays},
    )


def _words(ran: Ran) -> dict[str, dict[str, Any]]:
    def kept_on(**more: Any) -> dict[str, Any]:
        return _each_second(ran.zero, **CATCHUPS["all"], **more)

    def first(**more: Any) -> dict[str, Any]:
        return kept_on(end_at=ran.ends_at.isoformat(), **more)

    def later(**more: Any) -> dict[str, Any]:
        return _each_second(ran.zero + (LAST - 1) * SECOND, **more)

    local = {"timezone": ZONE}
    slow = {"task_type": "slow", "act": {"seconds": SLOW.total_seconds()}, "buffer_limit": BUFFERED}
    return {
        "plain": first(),
        "three runs": first(max_runs=3),
        "open hours": first(**local, execution_window=_hours(ran.zero, -HOUR, HOUR)),
        "closed hours": first(**local, execution_window=_hours(ran.zero, 6 * HOUR, 7 * HOUR)),
        LATER: first(
            **local,
            execution_window=_hours(ran.opens_at, 0 * HOUR, HOUR),
            outside_window="next_opening",
        ),
        "blackout": first(calendar="works"),
        "after the blackout": first(calendar="works", outside_window="next_opening"),
        "holiday": first(calendar="feasts"),
        "jitter": first(jitter_ms=700),
        **{name: first(spread_ms=900) for name in SPREAD},
        "unique": first(
            act={"seconds": 0.01},
            unique_key="report:{seconds}",
            unique_mode="for_time",
            unique_for_ms=UNIQUE_FOR_MS,
        ),
        "hopeless": kept_on(act={"fails": 99, "error_class": "permanent"}, pause_after_failures=2),
        **{name: kept_on() for name in ("paused", *HERD)},
        **{one: first(**slow, overlap_policy=one) for one in OVERLAPS},
        **{name: later(**policy) for name, policy in CATCHUPS.items()},
    }


def _each_second(begin: datetime, **more: Any) -> dict[str, Any]:
    return {
        "schedule_type": "interval",
        "schedule_config": {"interval_ms": 1000},
        "start_at": begin.isoformat(),
        "overlap_policy": "allow",
        **more,
    }


def _hours(at: datetime, begin: timedelta, end: timedelta) -> dict[str, list[str]]:
    """The hours from `begin` to `end` after `at`, as the clock of ZONE shows them."""
    shown = [f"{(at + after).astimezone(ZoneInfo(ZONE)):%H:%M}" for after in (begin, end)]
    return {"hours": ["-".join(shown)]}


def _pause_and_resume(system: System, door: Door, ran: Ran) -> None:
    """One until an instant, on the terminal; many at once until they are resumed, over REST."""
    _wait(system, ran.zero + 1.4 * SECOND)
    herd = {"filter": {"search": "herd-"}}
    ran.pausing_at = datetime.now(UTC)
    ran.pause_ends_at = (ran.pausing_at + PAUSED_FOR).replace(microsecond=500_000)
    until = ["--until", ran.pause_ends_at.isoformat()]
    said = terminal.run("schedule", "pause", "paused", "--reason", "stocktaking", *until)
    assert said.exit_code == 0, said.stderr
    done = door.post("scheduler/schedules/pause", {**herd, "reason": "maintenance"})
    assert done == {"changed": len(HERD), "refused": [], "remaining": 0}
    ran.paused_at = datetime.now(UTC)
    surely_paused = ran.paused_at + PREPARED + SECOND  # by then one has fired that was
    _wait(system, max(ran.zero + 3.4 * SECOND, surely_paused))
    assert door.post("scheduler/schedules/resume", herd)["changed"] == len(HERD)


def _have_a_downtime(system: System, ran: Ran) -> None:
    _wait(system, ran.ends_at + 0.4 * SECOND)
    first = [one for name, one in ran.ids.items() if name not in {*CATCHUPS, *KEPT_ON}]
    due = Schedule.objects.filter(enabled=True, next_run_at__lte=ran.ends_at, id__in=first)
    system.until(lambda: not due.exists(), what="the last fires of the first part were looked at")
    beats = [name for name in system.processes if name.startswith("beat")]
    for name in beats:
        system.processes[name].kill()
    _wait(system, datetime.now(UTC) + SECOND)
    for name in beats:
        system.beat(name)


def _let_end(system: System, ran: Ran) -> None:
    late = Schedule.objects.filter(id__in=[ran.ids[name] for name in CATCHUPS])
    returned_at = datetime.now(UTC)
    system.until(
        lambda: (
            not late.filter(next_run_at__lte=max(returned_at, datetime.now(UTC))).exists()
            and late.filter(last_run_at__gt=returned_at).count() == len(CATCHUPS)
        ),
        what="all that was late was looked at, and more came on time",
    )
    kept_on = Schedule.objects.filter(id__in=[ran.ids[name] for name in KEPT_ON])
    system.until(
        lambda: (
            kept_on.filter(last_run_at__gt=ran.pause_ends_at).count() == len(KEPT_ON) - 1
            and not kept_on.get(id=ran.ids["hopeless"]).enabled
        ),
        what="what was paused fires again, and what keeps failing has paused itself",
    )
    for name in (*CATCHUPS, "paused", *HERD):
        assert terminal.run("schedule", "disable", name).exit_code == 0
    theirs = [one for name, one in ran.ids.items() if name != LATER]
    left = Execution.objects.filter(schedule_id__in=theirs, completed_at__isnull=True)
    system.until(lambda: not left.exists(), what="what was made has ended")


def _wait(system: System, moment: datetime) -> None:
    system.until(lambda: datetime.now(UTC) >= moment, what="the moment has come")
