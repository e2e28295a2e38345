"""What a schedule names is its owner's, is stored by id, and never leads back to itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from executions_app import audit, clock, ids
from executions_app.audit import Actor
from scheduler_app import calendars, definition, schedules
from scheduler_app.definition import InvalidDefinition
from scheduler_app.models import Schedule

MakeSchedule = Callable[..., Schedule]


@pytest.fixture
def depending(make_schedule: MakeSchedule) -> Callable[..., Schedule]:
    """Create a schedule that depends on others."""

    def make(name: str, *upstreams: str, **changes: Any) -> Schedule:
        words = {"upstreams": list(upstreams), **changes}
        return make_schedule(
            name,
            schedule_type="",
            schedule_config={},
            trigger_type="dependent",
            trigger_config=words,
        )

    return make


def edit(schedule: Schedule, *upstreams: str) -> Schedule:
    words = {
        **definition.stored(schedule),
        "trigger_type": "dependent",
        "trigger_config": {"upstreams": list(upstreams)},
        "schedule_type": "",
        "schedule_config": {},
    }
    return schedules.update(schedule.id, definition.parse(words), actor=audit.SYSTEM)


def problem_of(act: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(InvalidDefinition) as refused:
        act()
    (problem,) = refused.value.problems
    return ".".join(problem.path), problem.message


@pytest.mark.django_db
def test_upstreams_are_named_or_numbered_and_stored_by_id(
    make_schedule: MakeSchedule, depending: Callable[..., Schedule]
) -> None:
    first, second = make_schedule("first"), make_schedule("second")

    schedule = depending("third", "first", str(second.id), on="end")

    assert schedule.trigger_config == {
        "upstreams": [str(first.id), str(second.id)], "on": "end", "mode": "any",
    }  # fmt: skip
    assert schedule.next_run_at is None


@pytest.mark.django_db
def test_an_upstream_that_is_renamed_stays_the_same_one(
    make_schedule: MakeSchedule, depending: Callable[..., Schedule]
) -> None:
    first = make_schedule("first")
    schedule = depending("second", "first")

    renamed = schedules.current(first).model_copy(update={"name": "another"})
    schedules.update(first.id, renamed, actor=audit.SYSTEM)

    schedule.refresh_from_db()
    assert schedule.trigger_config["upstreams"] == [str(first.id)]


@pytest.mark.django_db
def test_an_upstream_of_somebody_else_is_as_unknown_as_none(
    depending: Callable[..., Schedule], make_schedule: MakeSchedule
) -> None:
    stranger = User.objects.create_user("stranger")
    Schedule.objects.filter(id=make_schedule("theirs").id).update(owner=stranger)

    assert problem_of(lambda: depending("mine", "theirs")) == (
        "trigger_config.upstreams.0", "you have no schedule 'theirs'",
    )  # fmt: skip
    assert not Schedule.objects.filter(name="mine").exists()


@pytest.mark.django_db
def test_a_schedule_cannot_wait_for_itself(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule("a")

    field, message = problem_of(lambda: edit(schedule, "a"))

    assert (field, message) == ("trigger_config.upstreams", "this would start itself: a -> a")


@pytest.mark.django_db
def test_a_cycle_is_refused_and_named_in_the_order_of_time(
    make_schedule: MakeSchedule, depending: Callable[..., Schedule]
) -> None:
    first = make_schedule("a")
    depending("b", "a")
    depending("c", "b")
    depending("aside", "a", "c")

    _, message = problem_of(lambda: edit(first, "c"))

    assert message == "this would start itself: a -> b -> c -> a"
    assert Schedule.objects.get(name="a").trigger_type == "time_based"


@pytest.mark.django_db
def test_several_ways_to_the_same_schedule_are_no_cycle(
    make_schedule: MakeSchedule, depending: Callable[..., Schedule]
) -> None:
    make_schedule("a")
    for layer in range(12):
        above = ["a"] if layer == 0 else [f"{layer - 1}-{place}" for place in range(3)]
        for place in range(3):
            depending(f"{layer}-{place}", *above)

    last = depending("last", *[f"11-{place}" for place in range(3)])

    assert len(last.trigger_config["upstreams"]) == 3


@pytest.mark.django_db(transaction=True)
def test_two_edits_at_once_cannot_make_a_cycle_together(make_schedule: MakeSchedule) -> None:
    first, second = make_schedule("a"), make_schedule("b")
    together = threading.Barrier(2)

    def depend(schedule: Schedule, upstream: str) -> bool:
        try:
            together.wait(10)
            edit(schedule, upstream)
        except InvalidDefinition:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(depend, [first, second], ["b", "a"]))

    assert sorted(done) == [False, True]


@pytest.mark.django_db
def test_a_schedule_that_others_wait_for_is_not_deleted(
    make_schedule: MakeSchedule, depending: Callable[..., Schedule]
) -> None:
    first = make_schedule("a")
    dependent = depending("b", "a")

    with pytest.raises(schedules.Needed, match="'b'"):
        schedules.delete(first.id, actor=audit.SYSTEM)
    schedules.delete(dependent.id, actor=audit.SYSTEM)
    schedules.delete(first.id, actor=audit.SYSTEM)

    assert not Schedule.objects.exists()


@pytest.fixture
def office(owner: User) -> Any:
    words = {"name": "office", "holidays": [{"date": "2026-12-25"}]}
    return calendars.create(calendars.parse(words), owner_id=owner.pk, actor=Actor.of(owner))


@pytest.mark.django_db
def test_a_calendar_is_named_or_numbered(make_schedule: MakeSchedule, office: Any) -> None:
    by_name = make_schedule("a", calendar="office")
    by_id = make_schedule("b", calendar=str(office.id))

    assert by_name.calendar_id == by_id.calendar_id == office.id
    assert schedules.current(by_name).calendar == str(office.id)


@pytest.mark.django_db
def test_a_calendar_of_somebody_else_is_as_unknown_as_none(make_schedule: MakeSchedule) -> None:
    stranger = User.objects.create_user("stranger")
    words = calendars.parse({"name": "theirs"})
    theirs = calendars.create(words, owner_id=stranger.pk, actor=Actor.of(stranger))

    for reference in ("theirs", str(theirs.id), str(ids.new(clock.now()))):
        field, _ = problem_of(lambda given=reference: make_schedule("a", calendar=given))  # type: ignore[misc]
        assert field == "calendar"


@pytest.mark.django_db
def test_a_calendar_that_schedules_follow_is_not_deleted(
    make_schedule: MakeSchedule, office: Any
) -> None:
    schedule = make_schedule("a", calendar="office")

    with pytest.raises(calendars.InUse, match="'a'"):
        calendars.delete(office.id, actor=audit.SYSTEM)
    without = schedules.current(schedule).model_copy(update={"calendar": None})
    schedules.update(schedule.id, without, actor=audit.SYSTEM)
    calendars.delete(office.id, actor=audit.SYSTEM)
