"""Everything that moves or stops a fire of the clock, side by side on real beats and a worker."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import groupby

import pytest

from executions_app.models import Execution
from scheduler_app.models import FireRecord, Schedule
from tests import terminal
from tests.journeys.test_overlap import ran_one_at_a_time
from tests.journeys.when import timeline
from tests.journeys.when.door import Door, executions, fires
from tests.journeys.when.judging import cannot_be_judged, is_past, those_before, was_in_the_way
from tests.journeys.when.timeline import (
    BUFFERED,
    CATCHUPS,
    HERD,
    LAST,
    LATER,
    OVERLAPS,
    PREPARED,
    SPREAD,
    Ran,
)
from tests.processes import System

pytestmark = pytest.mark.journey

SECOND = timedelta(seconds=1)
ON_TIME = 10 * SECOND
FORETOLD = (
    "plain", "open hours", "closed hours", LATER, "blackout", "after the blackout", "holiday",
    "jitter", *SPREAD,
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(living_system: System, door: Door) -> Ran:
    return timeline.run(living_system, door)


def reasons(ran: Ran, name: str) -> dict[datetime, str]:
    return {one.nominal_at: one.reason for one in fires(ran.ids[name])}


def due(ran: Ran, name: str) -> dict[datetime, datetime]:
    """When each fire that has an execution was due to start."""
    return {at: one.due_at for one in executions(ran.ids[name]) if (at := one.nominal_at)}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def all_are(reason: str, ran: Ran) -> dict[datetime, str]:
    return dict.fromkeys(ran.grid(), reason)


def test_what_rest_and_the_terminal_tell_of_every_fire_is_what_the_rows_say(
    ran: Ran, door: Door
) -> None:
    found = {name: door.disagreements(its_id) for name, its_id in ran.ids.items()}

    assert {name: those for name, those in found.items() if those} == {}


def test_what_was_foretold_has_come(ran: Ran) -> None:
    for name in FORETOLD:
        told, starts = fires(ran.ids[name]), due(ran, name)
        looked_at = {one.nominal_at: one.created_at for one in told}

        foretold = [(instant(one["nominal_at"]), one["reason"]) for one in ran.forecast[name]]
        planned = {
            instant(one["nominal_at"]): instant(one["due_at"])
            for one in ran.forecast[name]
            if one["due_at"]
        }

        assert foretold == [(one.nominal_at, one.reason) for one in told], name
        # What is looked at late is due at once.
        assert starts == {at: max(due_at, looked_at[at]) for at, due_at in planned.items()}, name


def test_it_fires_from_its_start_to_its_end_and_then_is_finished(ran: Ran) -> None:
    assert reasons(ran, "plain") == all_are("dispatched", ran)
    assert {one.status for one in executions(ran.ids["plain"])} == {"completed"}
    ended = Schedule.objects.get(id=ran.ids["plain"])
    assert (ended.enabled, ended.next_run_at) == (False, None)


def test_it_makes_so_many_runs_and_no_more(ran: Ran) -> None:
    assert reasons(ran, "three runs") == dict.fromkeys(ran.grid()[:3], "dispatched")
    ended = Schedule.objects.get(id=ran.ids["three runs"])
    assert (ended.enabled, ended.next_run_at, ended.fired_count) == (False, None, 3)
    why = terminal.run(
        "schedule", "why", "three runs", "--at", ran.grid()[4].isoformat(), "--json"
    ).document
    assert why["code"] == "finished"


def test_a_window_admits_what_is_inside_and_skips_what_is_not(ran: Ran) -> None:
    assert reasons(ran, "open hours") == all_are("dispatched", ran)
    assert reasons(ran, "closed hours") == all_are("skipped_window", ran)
    assert executions(ran.ids["closed hours"]) == []


def test_what_waits_for_a_window_is_due_when_it_opens(ran: Ran) -> None:
    assert reasons(ran, LATER) == all_are("dispatched", ran)
    assert due(ran, LATER) == dict.fromkeys(ran.grid(), ran.opens_at)


def test_a_blackout_skips_what_falls_into_it(ran: Ran) -> None:
    begins, ends = ran.blackout

    assert reasons(ran, "blackout") == {
        at: "skipped_calendar" if begins <= at < ends else "dispatched" for at in ran.grid()
    }


def test_a_blackout_puts_off_what_is_to_wait_for_its_end(ran: Ran) -> None:
    begins, ends = ran.blackout
    made = executions(ran.ids["after the blackout"])
    looked_at = {one.nominal_at: one.created_at for one in fires(ran.ids["after the blackout"])}

    assert reasons(ran, "after the blackout") == all_are("dispatched", ran)
    waited = {one.nominal_at: one for one in made if one.nominal_at and one.nominal_at >= begins}
    waited = {at: one for at, one in waited.items() if at < ends}
    assert len(waited) == 2
    assert all(one.due_at == max(ends, looked_at[at]) for at, one in waited.items())
    assert all(one.started_at and one.started_at >= ends for one in waited.values())
    assert {one.status for one in made} == {"completed"}


def test_nothing_runs_on_a_holiday_of_the_calendars_own_zone(ran: Ran) -> None:
    assert reasons(ran, "holiday") == all_are("skipped_calendar", ran)
    assert executions(ran.ids["holiday"]) == []


def test_jitter_moves_each_fire_by_another_part_and_spread_all_by_the_same(ran: Ran) -> None:
    # What was foretold is the delay alone; it has come as foretold, or was looked at too late.
    def delays(name: str) -> set[timedelta]:
        return {instant(one["due_at"]) - instant(one["nominal_at"]) for one in ran.forecast[name]}

    spreads = [delays(name) for name in SPREAD]
    together = set[timedelta]().union(*spreads)
    assert all(timedelta() <= one <= 0.7 * SECOND for one in delays("jitter"))
    assert all(timedelta() <= one <= 0.9 * SECOND for one in together)
    assert len(delays("jitter")) > 1
    assert [len(one) for one in spreads] == [1] * len(SPREAD)
    assert len(together) > 1
    for name in ("jitter", *SPREAD):
        made = executions(ran.ids[name])
        assert len(made) == LAST + 1
        assert all(one.started_at and one.started_at >= one.due_at for one in made)


def test_work_that_is_unique_for_a_time_is_skipped_until_it_has_passed(ran: Ran) -> None:
    kept = timedelta(milliseconds=timeline.UNIQUE_FOR_MS)
    until = ran.zero - SECOND
    for one in fires(ran.ids["unique"]):
        is_taken = one.created_at < until
        assert one.reason == ("skipped_duplicate" if is_taken else "dispatched")
        if not is_taken:
            until = one.created_at + kept

    assert set(reasons(ran, "unique")) == set(ran.grid())
    assert {one.unique_key for one in executions(ran.ids["unique"])} == {"report:0.01"}


def test_what_keeps_failing_pauses_itself_and_says_so(ran: Ran) -> None:
    hopeless = Schedule.objects.get(id=ran.ids["hopeless"])
    made = reasons(ran, "hopeless")

    assert not hopeless.enabled
    assert hopeless.pause_reason.startswith("paused by itself after")
    assert len(made) >= 2
    assert made == dict.fromkeys(ran.first(len(made)), "dispatched")
    assert {one.status for one in executions(hopeless.id)} == {"failed"}
    at = ["--at", (max(made) + SECOND).isoformat()]
    why = terminal.run("schedule", "why", "hopeless", *at, "--json").document
    assert why["code"] == "disabled"
    assert hopeless.pause_reason in why["sentence"]


def test_a_pause_with_an_end_passes_over_its_fires_and_tells_its_reason(ran: Ran) -> None:
    told = reasons(ran, "paused")
    judged = {at: one for at, one in told.items() if not in_between(ran, at)}

    assert list(told) == ran.first(len(told))
    assert judged == {
        at: "skipped_paused" if ran.paused_at < at < ran.pause_ends_at else "dispatched"
        for at in judged
    }
    assert max(told) > ran.pause_ends_at
    passed = [at for at, reason in judged.items() if reason == "skipped_paused"]
    assert passed
    why = terminal.run("schedule", "why", "paused", "--at", passed[-1].isoformat(), "--json")
    assert "stocktaking" in why.document["sentence"]


def in_between(ran: Ran, at: datetime) -> bool:
    """True of a fire that may have been written down before the pause was, or after."""
    return ran.pausing_at < at <= ran.paused_at + PREPARED


@pytest.mark.parametrize("name", HERD)
def test_many_that_are_paused_at_once_go_on_from_when_they_are_resumed(ran: Ran, name: str) -> None:
    resumed_at = Schedule.objects.get(id=ran.ids[name]).anchor_at
    before = {at: one for at, one in reasons(ran, name).items() if at <= resumed_at}
    after = {at: one for at, one in reasons(ran, name).items() if at > resumed_at}

    assert list(before) == [at for at in ran.first(3600) if at <= resumed_at]
    judged = {at: reason for at, reason in before.items() if not in_between(ran, at)}
    assert judged == {at: "skipped_paused" if at > ran.paused_at else "dispatched" for at in judged}
    assert "skipped_paused" in judged.values()
    assert after, "it goes on"
    grid = [resumed_at + SECOND * k for k in range(1, len(after) + 1)]
    assert after == dict.fromkeys(grid, "dispatched")


@pytest.mark.parametrize("policy", OVERLAPS)
def test_each_overlap_policy_decides_every_fire_as_it_says(ran: Ran, policy: str) -> None:
    its_fires, made = fires(ran.ids[policy]), executions(ran.ids[policy])
    room = {"skip": 0, "buffer_one": 1, "buffer_all": BUFFERED}

    assert [one.nominal_at for one in its_fires] == ran.grid()
    judged = [fire for fire in its_fires if not cannot_be_judged(fire, made)]
    assert judged
    for fire in judged:
        before = those_before(fire, made)
        active = [one for one in before if not is_past(one.completed_at, fire.created_at)]
        waiting = [one for one in active if not is_past(one.queued_at, fire.created_at)]
        is_full = bool(active) and len(waiting) >= room.get(policy, len(before) + 1)
        if policy == "cancel_running":  # of those that are looked at together only the newest runs
            together = [one for one in its_fires if one.created_at == fire.created_at]
            is_full = fire is not together[-1]
        assert fire.reason == ("skipped_overlap" if is_full else "dispatched"), fire.nominal_at
    assert ran_one_at_a_time(made) == (policy != "allow")
    gave_way = {"cancelled"} if policy == "cancel_running" and was_in_the_way(made) else set()
    assert {one.status for one in made} == {"completed"} | gave_way
    assert made[-1].status == "completed"


@pytest.mark.parametrize("name", CATCHUPS)
def test_after_all_beats_were_down_each_policy_gets_exactly_its_runs(ran: Ran, name: str) -> None:
    found, made = fires(ran.ids[name]), executions(ran.ids[name])
    rounds = [list(those) for _, those in groupby(found, key=lambda one: one.created_at)]
    first = ran.zero + (LAST - 1) * SECOND

    assert [one.nominal_at for one in found] == [first + SECOND * k for k in range(len(found))]
    assert max(len(one) for one in rounds) >= 3
    for looked_at_together in rounds:
        if name == "one at a time" and cannot_be_judged(looked_at_together[0], made):
            continue
        expected = caught_up(name, looked_at_together, made)
        assert [one.reason for one in looked_at_together] == expected
    for one in found:
        late = max(timedelta(), one.created_at - one.nominal_at)
        assert abs(one.lateness_ms - late / timedelta(milliseconds=1)) <= 1
    assert Counter(one.reason for one in found)["dispatched"] == len(made)


def caught_up(name: str, those: list[FireRecord], made: list[Execution]) -> list[str]:
    """What the rules make of fires that are looked at together, the oldest first."""
    runs = {"all": len(those), "last two": 2}.get(name, 1)
    if name == "one at a time":
        before = those_before(those[0], made)
        is_free = all(is_past(one.completed_at, those[0].created_at) for one in before)
        first = "dispatched" if is_free else "skipped_overlap"
        return [first, *["skipped_overlap"] * (len(those) - 1)]
    missed = those[:-runs]
    given_up = [
        "missed_too_old"
        if name == "none" and one.created_at - one.nominal_at > ON_TIME
        else "missed_coalesced"
        for one in missed
    ]
    return [*given_up, *["dispatched"] * (len(those) - len(missed))]
