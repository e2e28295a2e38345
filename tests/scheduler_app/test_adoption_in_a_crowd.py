"""Two beats, a person and a beat, two people at the same decision: one of them is first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from agents_app.models import Cycle
from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from executions_app.states import IllegalMove, LostRace
from scheduler_app import adoption, dispatcher, edits, schedules
from scheduler_app.adoption import NotAdopted, NothingToRevert
from scheduler_app.models import FireRecord, Schedule, ScheduleDecision
from tests.scheduler_app.advising import HOUR, MINUTE, advise, made_of

MakeSchedule = Callable[..., Schedule]
pytestmark = pytest.mark.django_db(transaction=True)
TOO_LATE = (IllegalMove, LostRace, NotAdopted, NothingToRevert)


@pytest.fixture
def hourly(make_schedule: MakeSchedule) -> Schedule:
    made = make_schedule(schedule_config={"interval_ms": 3_600_000})
    Schedule.objects.filter(id=made.id).update(task_type="agent")
    return Schedule.objects.get(id=made.id)


def alone(act: Callable[[], object]) -> object:
    """As in another process: with a connection of its own, which is closed."""
    try:
        return act()
    finally:
        connection.close()


def together(*acts: Callable[[], object]) -> list[object]:
    """All at once, each on its own connection; an act that comes too late answers its error."""
    start = Barrier(len(acts))

    def begin(act: Callable[[], object]) -> object:
        start.wait(20)
        try:
            return act()
        except TOO_LATE as error:
            return error

    with ThreadPoolExecutor(len(acts)) as crowd:
        running = [crowd.submit(alone, lambda act=act: begin(act)) for act in acts]  # type: ignore[misc]
        return [one.result(60) for one in running]


def adopt() -> int:
    return adoption.adopt_advice(clock.now())


def proposal(schedule: Schedule) -> ScheduleDecision:
    advise(schedule, autonomy="propose", next_run_at=clock.now() + 5 * MINUTE)
    adopt()
    return ScheduleDecision.objects.get()


def test_of_two_beats_one_takes_a_piece_of_advice(make_schedule: MakeSchedule) -> None:
    for number in range(20):
        schedule = make_schedule(name=f"job {number}", schedule_config={"interval_ms": 3_600_000})
        advise(schedule, next_run_at=clock.now() + 5 * MINUTE)

    made = together(adopt, adopt, adopt)
    made.append(adopt())  # what was locked elsewhere at that moment

    assert sum(int(str(one)) for one in made) == 20
    assert ScheduleDecision.objects.filter(status="adopted").count() == 20
    assert not Cycle.objects.filter(decision_id__isnull=True).exists()


def test_advice_for_a_schedule_that_is_being_edited_waits_and_is_superseded(
    hourly: Schedule,
) -> None:
    cycle = advise(hourly, next_run_at=clock.now() + 5 * MINUTE)

    with ThreadPoolExecutor(1) as beat, transaction.atomic():
        schedule = Schedule.objects.select_for_update().get(id=hourly.id)
        words = edits.current(schedule).model_copy(update={"name": "another name"})
        edits.replace(schedule, words, SYSTEM)
        meanwhile = beat.submit(alone, adopt).result(20)
    after = adopt()

    assert (meanwhile, after) == (0, 1)
    assert made_of(cycle).status == "superseded"
    assert Schedule.objects.get(id=hourly.id).next_run_at == hourly.next_run_at


@pytest.mark.parametrize("what", ["edit", "pause"])
def test_of_a_person_and_a_beat_none_undoes_the_other(hourly: Schedule, what: str) -> None:
    wanted = clock.now() + 5 * MINUTE
    cycle = advise(hourly, next_run_at=wanted)
    until = clock.now() + 2 * HOUR

    def change() -> object:
        if what == "pause":
            return schedules.pause(hourly.id, reason="maintenance", until=until, actor=SYSTEM)
        words = edits.current(hourly).model_copy(update={"name": "another name"})
        return schedules.update(hourly.id, words, actor=SYSTEM)

    together(change, adopt)
    adopt()

    decision, now = made_of(cycle), Schedule.objects.get(id=hourly.id)
    assert now.version == hourly.version + 1
    assert decision.status in {"adopted", "superseded"}
    if what == "pause":
        assert now.paused_until == until
        assert now.next_run_at is not None
        assert now.next_run_at > until
    else:
        assert now.name == "another name"
        expected = wanted if decision.status == "adopted" else hourly.next_run_at
        assert now.next_run_at == expected


def test_of_a_fire_and_a_decision_the_fire_is_never_lost(hourly: Schedule) -> None:
    Schedule.objects.filter(id=hourly.id).update(
        anchor_at=Now() - HOUR - timedelta(seconds=1), next_run_at=Now() - timedelta(seconds=1)
    )
    due = Schedule.objects.get(id=hourly.id)
    cycle = advise(due, next_run_at=clock.now() + 5 * MINUTE)
    of_the_advice = cycle.execution_id
    Execution.objects.filter(id=of_the_advice).update(schedule_id=None)  # it is in nobody's way

    together(dispatcher.dispatch_due, adopt)
    dispatcher.dispatch_due()
    adopt()

    assert FireRecord.objects.get().nominal_at == due.next_run_at
    assert made_of(cycle).status == "superseded"


@pytest.mark.parametrize("other", ["approve", "reject", "expire"])
def test_of_two_answers_to_a_proposal_one_counts(hourly: Schedule, other: str) -> None:
    decision = proposal(hourly)
    mine, theirs = (ScheduleDecision.objects.get(id=decision.id) for _ in range(2))
    answers: dict[str, Callable[[], object]] = {
        "approve": lambda: adoption.approve(theirs, actor=SYSTEM),
        "reject": lambda: adoption.reject(theirs, actor=SYSTEM, reason="no"),
        "expire": lambda: adoption.expire(decision.expires_at),
    }

    came = together(lambda: adoption.approve(mine, actor=SYSTEM), answers[other])

    decision.refresh_from_db()
    lost = [one for one in came if isinstance(one, TOO_LATE) or one == 0]
    assert len(lost) == 1
    moved = Schedule.objects.get(id=hourly.id).next_run_at != hourly.next_run_at
    assert moved == (decision.status == "adopted")


def test_of_two_reverts_one_counts(hourly: Schedule) -> None:
    advise(hourly, next_run_at=clock.now() + 5 * MINUTE)
    adopt()
    mine, theirs = (ScheduleDecision.objects.get() for _ in range(2))

    came = together(
        lambda: adoption.revert(mine, actor=SYSTEM), lambda: adoption.revert(theirs, actor=SYSTEM)
    )

    assert sum(isinstance(one, TOO_LATE) for one in came) == 1
    assert Schedule.objects.get(id=hourly.id).next_run_at == hourly.next_run_at
