"""A cycle that used far more tokens than those before it is told of, once, until it is over."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from agents_app import spikes
from agents_app.models import Cycle
from errors_app.models import Alert, AlertDelivery, AlertKind, AlertRule
from executions_app import ids
from scheduler_app.models import Schedule
from tests.errors_app.watched import ago, firing, look, looks, rule, schedule
from tests.scale import plans

pytestmark = pytest.mark.django_db
LATER = count(1)


def cycle(of: Schedule, tokens: int, *, minutes: int = 0, status: str = "completed") -> Cycle:
    """A cycle that began some minutes ago."""
    began = ago(minutes=minutes) + timedelta(milliseconds=next(LATER))  # a test is one instant
    return Cycle.objects.create(
        id=ids.new(began),
        execution_id=uuid4(),
        schedule_id=of.id,
        owner_id=of.owner_id,
        token=uuid4(),
        stage="plan" if status == "running" else "done",
        status=status,
        deadline=began,
        prompt_tokens=tokens,
    )


def usual(of: Schedule, *, number: int = 6, tokens: int = 1_000) -> None:
    for minutes in range(number, 0, -1):
        cycle(of, tokens, minutes=minutes)


def seeded() -> AlertRule:
    return AlertRule.objects.get(kind=AlertKind.TOKEN_SPIKE)


def told() -> list[str]:
    return list(AlertDelivery.objects.order_by("id").values_list("event", flat=True))


def test_a_run_with_ten_times_the_tokens_raises_one_alert_that_the_next_usual_run_ends() -> None:
    of, watched = schedule(name="warm caches"), seeded()
    usual(of)
    assert look(watched) == []
    loud = cycle(of, 10_000)

    looks(watched, times=3)

    (alert,) = Alert.objects.all()
    assert (alert.status, alert.key, alert.schedule_id) == ("firing", str(of.id), of.id)
    assert (alert.owner_id, alert.severity) == (of.owner_id, "medium")
    assert "'warm caches': a cycle used 10000 tokens, 10.0 times the usual 1000" in alert.message
    assert alert.details == {"cycle_id": str(loud.id), "tokens": 10_000, "usual": 1_000}
    assert told() == ["fired"]

    cycle(of, 1_100)
    looks(watched, times=2)
    assert Alert.objects.get().status == "resolved"
    assert told() == ["fired", "resolved"]


def test_the_rule_and_the_event_agree_about_what_a_spike_is() -> None:
    for tokens in (10_000, 3_001, 3_000, 1_500):
        of = schedule()
        usual(of)
        newest = cycle(of, tokens)

        is_told = spikes.analyse(newest.id) is not None
        assert (str(of.id) in [one.key for one in look(seeded())]) is is_told, tokens


@pytest.mark.parametrize(
    ("before", "newest"),
    [
        ({"number": 4}, 10_000),  # too few to know
        ({"tokens": 10}, 900),  # little in any case
        ({"tokens": 0}, 10_000),  # no model was asked before
    ],
)
def test_what_cannot_be_told_from_the_usual_is_no_spike(
    before: dict[str, Any], newest: int
) -> None:
    of = schedule()
    usual(of, **before)
    cycle(of, newest)

    assert look(seeded()) == []


def test_a_run_that_has_not_ended_or_asked_no_model_says_nothing() -> None:
    of = schedule()
    usual(of)
    cycle(of, 50_000, status="running")
    assert look(seeded()) == []

    cycle(of, 10_000, status="failed")
    cycle(of, 0)
    assert firing_after_look() == [str(of.id)]


def firing_after_look() -> list[str]:
    look(seeded())
    return firing()


def test_it_fires_on_until_a_run_is_like_the_others_again_however_long_that_takes() -> None:
    of = schedule()
    for hours in range(8, 2, -1):
        cycle(of, 1_000, minutes=60 * hours)
    loud = cycle(of, 10_000, minutes=61)
    assert look(seeded()) == []  # of before the window: not news
    Cycle.objects.filter(id=loud.id).update(id=ids.new(ago(minutes=30)))
    assert firing_after_look() == [str(of.id)]
    Cycle.objects.filter(prompt_tokens=10_000).update(id=ids.new(ago(minutes=90)))

    looks(seeded(), times=3)

    assert firing() == [str(of.id)]


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_a_schedule_that_a_person_has_stopped_fires_no_more(how: str) -> None:
    of = schedule()
    usual(of)
    cycle(of, 10_000)
    assert firing_after_look() == [str(of.id)]

    if how == "disabled":
        Schedule.objects.filter(id=of.id).update(enabled=False)
    else:
        Schedule.objects.filter(id=of.id).delete()
    looks(seeded(), times=2)

    assert firing() == []


def test_a_rule_of_ones_own_has_its_own_factor_and_scope() -> None:
    mine, other = schedule(), schedule()
    for one in (mine, other):
        usual(one)
        cycle(one, 2_500)

    assert look(seeded()) == []
    twice = rule("token_spike", parameters={"factor": 2}, owner_id=mine.owner_id)
    assert [one.key for one in look(twice)] == [str(mine.id)]
    of_one = rule("token_spike", name="one", parameters={"factor": 2}, schedule_id=str(other.id))
    assert [one.key for one in look(of_one)] == [str(other.id)]


def test_a_look_reads_the_newest_cycles_along_an_index() -> None:
    of = schedule()
    usual(of, number=30)
    for _ in range(300):  # of few schedules every index would do about as well
        Cycle.objects.filter(id=cycle(of, 1_000, minutes=600).id).update(schedule_id=uuid4())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE cycles")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")

    with plans.watched() as seen:
        look(seeded())

    (plan,) = seen.of("FROM cycles")
    indexes = [node["Index Name"] for node in plan.nodes if "Index Name" in node]
    assert plan.most_scanned() == 0, plan
    assert indexes.count("cycle_of_schedule") == 2, plan
