"""Dispatchers, workers, people and sweeps at once: no two runs side by side, none forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now

from executions_app import lifecycle, overlaps
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from executions_app.states import TERMINAL
from scheduler_app import admission, consequences, dispatcher, schedules
from scheduler_app.admission import StillActive
from scheduler_app.models import FireRecord, Schedule
from tests import verbs

MakeSchedule = Callable[..., Schedule]
POLICIES = ("skip", "buffer_one", "buffer_all", "cancel_running")
ACTIONS_OF_EACH = 120
SIDE_BY_SIDE = """
SELECT schedule_id, array_agg(status) FROM task_executions
WHERE status IN ('pending', 'queued', 'running') AND held_by NOT LIKE 'overlap:%%'
GROUP BY schedule_id HAVING count(*) > 1
"""


def fire(chance: random.Random) -> None:
    chosen = chance.choice(list(Schedule.objects.values_list("id", flat=True)))
    late = timedelta(microseconds=chance.randrange(1, 900_000))
    Schedule.objects.filter(id=chosen).update(next_run_at=Now() - late)
    dispatcher.dispatch_due()


def work(_: random.Random) -> None:
    """Claim what is queued; what was asked to stop does, the rest completes."""
    queued = list(Execution.objects.filter(status="queued").values_list("id", flat=True))
    for claimed in lifecycle.claim(queued, worker_id="somebody"):
        if lifecycle.cancel_requests([claimed.id]):
            verbs.cancelled(claimed)
        else:
            verbs.complete(claimed, output=None)


def start_by_hand(chance: random.Random) -> None:
    schedule = chance.choice(list(Schedule.objects.all()))
    try:
        schedules.trigger(schedule, actor=SYSTEM)
    except StillActive:
        return


def sweep(_: random.Random) -> None:
    admission.let_go_all(limit=10)


def draw(_: random.Random) -> None:
    consequences.draw()


ACTIONS = (fire, fire, work, draw, start_by_hand, sweep)


def act(seed: int) -> list[str]:
    """Many actions in an order of chance; answers the breaches that were seen."""
    chance = random.Random(seed)
    breaches: list[str] = []
    try:
        for _ in range(ACTIONS_OF_EACH):
            try:
                chance.choice(ACTIONS)(chance)
            except OperationalError as error:  # a deadlock is undone, and tried again by a beat
                if "deadlock" not in str(error):
                    raise
            breaches += seen(SIDE_BY_SIDE)
    finally:
        connection.close()
    return breaches


def seen(statement: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [str(row) for row in cursor.fetchall()]


@pytest.mark.django_db(transaction=True)
def test_no_two_executions_run_beside_each_other_and_all_of_them_end(
    make_schedule: MakeSchedule,
) -> None:
    several = [make_schedule(policy, overlap_policy=policy, buffer_limit=3) for policy in POLICIES]

    with ThreadPoolExecutor(6) as crowd:
        breaches = [one for some in crowd.map(act, range(6)) for one in some]
    waiting = dict(Execution.objects.exclude(held_by="").values_list("id", "held_by"))
    chance = random.Random(0)
    for _ in range(len(waiting) + 5):
        for action in (work, draw, draw):
            action(chance)
        dispatcher.dispatch_due()

    assert breaches == []
    assert set(waiting.values()) <= {overlaps.held_by(one.id) for one in several}
    assert not Execution.objects.exclude(status__in=TERMINAL).exists()
    runs = FireRecord.objects.filter(reason="dispatched")
    by_time = Execution.objects.filter(trigger="time")
    assert runs.count() == by_time.count() > 10
    made = by_time.values("schedule_id").distinct().count()
    assert made == len(POLICIES)
    counted = sum(Schedule.objects.values_list("fired_count", flat=True))
    assert counted == by_time.count()
