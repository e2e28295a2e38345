from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents_app import spikes, usage
from agents_app.models import Cycle, ModelCall
from executions_app import clock, ids
from executions_app.models import Event

pytestmark = pytest.mark.django_db
SCHEDULE = uuid4()


def call(
    *, cycle: Cycle | None = None, prompt: int = 10, said: int = 5, days_ago: float = 0, **more: Any
) -> ModelCall:
    at = clock.now() - timedelta(days=days_ago)
    given: dict[str, Any] = {
        "provider": "p",
        "model": "small",
        "phase": "plan",
        "status": "ok",
        "schedule_id": SCHEDULE,
        "cost_usd": Decimal("0.01"),
    }
    if cycle is not None:
        given |= {"cycle_id": cycle.id, "execution_id": cycle.execution_id}
    return ModelCall.objects.create(
        **{**given, **more},
        id=ids.new(at),
        prompt_tokens=prompt,
        completion_tokens=said,
        created_at=at,
    )


def cycle(
    *,
    tokens: int = 0,
    schedule_id: UUID = SCHEDULE,
    status: str = "completed",
    minutes_ago: int = 0,
) -> Cycle:
    now = clock.now() - timedelta(minutes=minutes_ago)
    return Cycle.objects.create(
        id=ids.new(now),
        execution_id=uuid4(),
        schedule_id=schedule_id,
        owner_id=7,
        token=uuid4(),
        stage="done",
        status=status,
        deadline=now,
        prompt_tokens=tokens,
    )


# Sums


def test_totals_count_failed_malformed_and_estimated_calls_too() -> None:
    call()
    call(status="failed", failure_class="timeout", is_estimated=True, prompt=100, said=0)
    call(status="malformed", malformed_class="empty_response")
    call(schedule_id=uuid4())

    found = usage.totals(usage.Which(schedule_id=SCHEDULE))

    assert found == usage.Totals(3, 1, 1, 1, 120, 10, Decimal("0.03"))
    assert found.tokens == 130


def test_nothing_sums_to_nothing() -> None:
    assert usage.totals(usage.Which(cycle_id=uuid4())) == usage.Totals(0, 0, 0, 0, 0, 0, Decimal(0))


@pytest.mark.parametrize("by", list(usage.GROUPS))
def test_groups_sum_to_the_whole(by: usage.By) -> None:
    one, other = cycle(), cycle()
    for number, of in enumerate((one, other, None)):
        call(cycle=of, model=f"m{number}", phase="plan" if number else "schedule", prompt=number)
    which = usage.Which(schedule_id=SCHEDULE)

    groups = usage.grouped(which, by=by)

    assert sum(one.totals.tokens for one in groups) == usage.totals(which).tokens
    assert sum(one.totals.calls for one in groups) == 3
    assert len({one.key for one in groups}) == len(groups)


def test_the_dearest_comes_first_and_days_are_the_newest_first() -> None:
    call(model="cheap", days_ago=0.01)
    call(model="dear", cost_usd=Decimal(2), days_ago=3)
    which = usage.Which(schedule_id=SCHEDULE)

    models = [one.key for one in usage.grouped(which, by="model")]
    days = [one.key for one in usage.grouped(which, by="day")]

    assert models == ["dear", "cheap"]
    assert days == sorted(days, reverse=True)
    assert len(days) == 2


def test_what_is_outside_of_the_time_is_not_summed() -> None:
    call(days_ago=5)
    call(days_ago=1)
    now = clock.now()

    lately = usage.totals(usage.Which(since=now - timedelta(days=2)))
    before = usage.totals(usage.Which(until=now - timedelta(days=2)))

    assert (lately.calls, before.calls) == (1, 1)


def test_a_recount_corrects_what_cycles_have_stored_and_leaves_the_rest() -> None:
    wrong, right, running = cycle(tokens=999), cycle(tokens=10), cycle(status="running")
    call(cycle=wrong, prompt=30, said=4)
    call(cycle=wrong, prompt=1, said=0, status="failed")
    right_call = call(cycle=right, prompt=10, said=0, cost_usd=Decimal(0))
    call(cycle=running)

    corrected = usage.recount(SCHEDULE)

    for one in (wrong, right, running):
        one.refresh_from_db()
    assert corrected == 1
    assert (wrong.prompt_tokens, wrong.completion_tokens) == (31, 4)
    assert wrong.cost_usd == Decimal("0.02")
    assert (right.prompt_tokens, running.prompt_tokens) == (right_call.prompt_tokens, 0)
    assert usage.recount(SCHEDULE) == 0


# Spikes


@pytest.mark.parametrize(
    ("tokens", "earlier", "is_spike"),
    [
        (10_000, [1_000] * 5, True),
        (3_001, [1_000] * 5, True),
        (3_000, [1_000] * 5, False),  # three times is still usual
        (10_000, [1_000] * 4, False),  # too few to know
        (10_000, [1_000] * 4 + [0] * 9, False),  # cycles without a model say nothing
        (900, [10] * 20, False),  # little in any case
        (10_000, [], False),
    ],
)
def test_a_spike_is_more_than_three_times_the_mean_before(
    tokens: int, earlier: list[int], is_spike: bool
) -> None:
    assert (spikes.spike(tokens, earlier) is not None) is is_spike


def test_a_cycle_with_ten_times_the_tokens_is_told_of() -> None:
    for minutes_ago in range(1, 7):
        cycle(tokens=1_000, minutes_ago=minutes_ago)
    cycle(tokens=90_000, schedule_id=uuid4(), minutes_ago=3)
    latest = cycle(tokens=10_000)

    found = spikes.analyse(latest.id)

    latest.refresh_from_db()
    event = Event.objects.get(type="agent:token_spike")
    assert found is not None
    assert round(found.times) == 10
    assert "10.0 times the usual 1000" in latest.notes[0]
    assert (event.schedule_id, event.execution_id, event.owner_id) == (
        SCHEDULE,
        latest.execution_id,
        7,
    )


def test_a_cycle_like_those_before_is_not_told_of() -> None:
    for minutes_ago in range(1, 7):
        cycle(tokens=1_000, minutes_ago=minutes_ago)

    assert spikes.analyse(cycle(tokens=1_500).id) is None
    assert spikes.analyse(uuid4()) is None
    assert not Event.objects.filter(type="agent:token_spike").exists()
