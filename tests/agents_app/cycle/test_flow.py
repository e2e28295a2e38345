"""What follows in a plan: waves, caps, skipped dependents; for any plan, however it goes."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from agents_app.cycle.flow import ENDED, Standing, follow
from executions_app.states import StepStatus as S


def step(number: int, *, wave: int = 0, status: S = S.PLANNED, **more: object) -> Standing:
    return Standing(
        id=UUID(int=number),
        name=f"s{number}",
        position=number,
        wave=wave,
        status=status,
        **more,  # type: ignore[arg-type]
    )


def ids(*numbers: int) -> tuple[UUID, ...]:
    return tuple(UUID(int=one) for one in numbers)


def test_at_most_so_many_steps_of_a_wave_are_on_their_way() -> None:
    steps = [step(1, status=S.RUNNING), step(2), step(3), step(4, wave=1)]

    assert follow(steps, concurrency=2).queue == ids(2)
    assert follow(steps, concurrency=1).queue == ()


def test_a_wave_begins_once_the_one_before_has_ended() -> None:
    running = [step(1, status=S.COMPLETED), step(2, status=S.RUNNING), step(3, wave=1)]
    over = [running[0], replace(running[1], status=S.FAILED), running[2]]

    assert follow(running, concurrency=5).queue == ()
    assert follow(over, concurrency=5).queue == ids(3)


def test_what_is_more_urgent_begins_first() -> None:
    steps = [step(1, priority=1), step(2, priority=9), step(3, priority=9)]

    assert follow(steps, concurrency=2).queue == ids(2, 3)


def test_dependents_of_a_failed_step_are_skipped_and_so_are_theirs() -> None:
    steps = [
        step(1, status=S.FAILED),
        step(2, wave=1, depends_on=frozenset(ids(1))),
        step(3, wave=2, depends_on=frozenset(ids(2))),
        step(4, wave=2),
    ]

    next_ = follow(steps, concurrency=5)

    assert next_.skip == {
        ids(2)[0]: "it depends on the step 's1', which did not end well",
        ids(3)[0]: "it depends on the step 's2', which did not end well",
    }
    assert next_.queue == ids(4)


def test_once_a_critical_step_failed_nothing_more_begins() -> None:
    steps = [step(1, status=S.FAILED, is_critical=True), step(2, status=S.QUEUED), step(3, wave=1)]

    next_ = follow(steps, concurrency=5)

    assert next_.queue == ()
    assert set(next_.skip) == set(ids(2, 3))
    assert next_.is_over


def test_what_runs_is_waited_for_although_a_critical_step_failed() -> None:
    steps = [step(1, status=S.FAILED, is_critical=True), step(2, status=S.RUNNING)]

    assert not follow(steps, concurrency=5).is_over


def test_a_plan_without_steps_is_over() -> None:
    assert follow([], concurrency=5).is_over


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Standing], int]:
    count = draw(st.integers(1, 12))
    steps: list[Standing] = []
    for number in range(1, count + 1):
        earlier = [one.id for one in steps]
        needs = frozenset(draw(st.lists(st.sampled_from(earlier), max_size=3)) if earlier else [])
        after = max((one.wave + 1 for one in steps if one.id in needs), default=0)
        steps.append(
            step(
                number,
                wave=after + draw(st.integers(0, 1)),
                depends_on=needs,
                is_critical=draw(st.booleans()),
                priority=draw(st.integers(0, 3)),
            )
        )
    return steps, draw(st.integers(1, 4))


@given(plan=plans(), data=st.data())
def test_every_plan_comes_to_its_end_in_order_and_under_its_cap(
    plan: tuple[list[Standing], int], data: st.DataObject
) -> None:
    steps, concurrency = plan
    standing = {one.id: one for one in steps}
    for _ in range(200):
        next_ = follow(list(standing.values()), concurrency=concurrency)
        again = follow(list(standing.values()), concurrency=concurrency)
        assert next_ == again
        for one in next_.skip:
            assert standing[one].status in {S.PLANNED, S.QUEUED}
            standing[one] = replace(standing[one], status=S.SKIPPED)
        for one in next_.queue:
            needed = [standing[each].status for each in standing[one].depends_on]
            assert all(status is S.COMPLETED for status in needed)
            standing[one] = replace(standing[one], status=S.QUEUED)
        live = [one for one in standing.values() if one.status in {S.QUEUED, S.RUNNING}]
        assert len(live) <= concurrency
        assert len({one.wave for one in live}) <= 1
        if next_.is_over:
            break
        assert live, "a plan that is not over has something on its way"
        ends = data.draw(st.sampled_from(sorted(live, key=lambda one: one.position)))
        begins = [S.RUNNING] if ends.status is S.QUEUED else []
        status = data.draw(st.sampled_from([*begins, S.COMPLETED, S.FAILED]))
        standing[ends.id] = replace(ends, status=status)
    else:
        raise AssertionError("the plan never ended")
    assert all(one.status in ENDED for one in standing.values())
