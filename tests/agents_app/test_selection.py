"""An agent is chosen if it is capable, up and has a place free, the least loaded first."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Count
from pytest_django import DjangoAssertNumQueries

from agents_app import selection
from agents_app import selection_statements as statements
from agents_app.models import Agent, Cycle, CycleStage, CycleStatus, Provider
from agents_app.selection import Lack, Requirements
from executions_app import clock
from executions_app.states import LostRace
from tests.agents_app.agents import make_agent, make_busy, make_cycle, make_provider

ANYBODY = Requirements()


def taken(requirements: Requirements = ANYBODY) -> str | None:
    """The name of the agent that a new cycle is given."""
    agent = selection.take(requirements, cycle_id=make_cycle().id)
    return agent.name if agent else None


@pytest.mark.django_db
def test_a_cycle_is_given_an_agent_that_can_do_all_it_needs() -> None:
    make_agent("reader", capabilities=["read"])
    make_agent("writer", capabilities=["read", "write"], tools=["search"])

    cycle = make_cycle()
    needs = Requirements(capabilities=("write",), tools=("search",))
    agent = selection.take(needs, cycle_id=cycle.id)

    assert agent is not None
    assert agent.name == "writer"
    cycle.refresh_from_db()
    assert (cycle.agent_id, cycle.stage) == (agent.id, CycleStage.PLAN)


@pytest.mark.django_db
def test_the_least_loaded_agent_is_chosen_and_of_equals_the_first_by_name() -> None:
    make_busy(make_agent("a half full one", max_concurrent=4), places=2)
    make_busy(make_agent("large", max_concurrent=10), places=3)
    make_busy(make_agent("b as loaded as large", max_concurrent=10), places=3)

    assert [taken(), taken(), taken()] == ["b as loaded as large", "large", "b as loaded as large"]


@pytest.mark.django_db
def test_only_running_cycles_that_have_begun_hold_a_place() -> None:
    agent = make_agent("one", max_concurrent=1)
    make_cycle(agent_id=agent.id, stage=CycleStage.WAIT)
    make_cycle(agent_id=agent.id, stage=CycleStage.DONE, status=CycleStatus.COMPLETED)
    make_cycle(agent_id=agent.id, stage=CycleStage.EXECUTE, status=CycleStatus.FAILED)

    assert [taken(), taken()] == ["one", None]


@pytest.mark.django_db
def test_a_cycle_keeps_the_place_it_has() -> None:
    make_agent("one", max_concurrent=1)
    cycle = make_cycle()

    agents = [selection.take(ANYBODY, cycle_id=cycle.id) for _ in range(2)]

    assert [one.name for one in agents if one] == ["one", "one"]


@pytest.mark.django_db
def test_a_cycle_goes_on_where_its_taker_says() -> None:
    make_agent("one")
    cycle = make_cycle()

    selection.take(ANYBODY, cycle_id=cycle.id, stage=CycleStage.EXECUTE)

    cycle.refresh_from_db()
    assert cycle.stage == CycleStage.EXECUTE


@pytest.mark.django_db
def test_a_cycle_that_is_over_is_given_nobody() -> None:
    make_agent("one")
    cycle = make_cycle(status=CycleStatus.CANCELLED)

    with pytest.raises(LostRace):
        selection.take(ANYBODY, cycle_id=cycle.id)

    cycle.refresh_from_db()
    assert cycle.agent_id is None


@pytest.mark.django_db
def test_a_named_agent_is_given_though_others_are_less_loaded() -> None:
    make_agent("idle")
    make_busy(make_agent("wanted", max_concurrent=2), places=1)

    assert taken(Requirements(agent="wanted")) == "wanted"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "trouble",
    [{"enabled": False}, {"unhealthy_until": timedelta(minutes=1)}, {"max_concurrent": 1}],
    ids=["switched off", "left out", "full"],
)
def test_somebody_stands_in_for_a_named_agent(trouble: dict[str, object]) -> None:
    last = make_agent("last")
    first = make_agent("first", fallback_agent=last, max_concurrent=1)
    wanted = make_agent("wanted", fallback_agent=first, capabilities=["write"])
    changes = {
        name: clock.now() + value if isinstance(value, timedelta) else value
        for name, value in trouble.items()
    }
    Agent.objects.filter(id=wanted.id).update(**changes)
    make_busy(wanted, places=1)
    needs = Requirements(agent="wanted", capabilities=("write",))

    assert [taken(needs), taken(needs)] == ["first", "last"]


@pytest.mark.django_db
def test_a_chain_of_stand_ins_that_bites_its_tail_ends() -> None:
    first = make_agent("first", enabled=False)
    second = make_agent("second", enabled=False, fallback_agent=first)
    Agent.objects.filter(id=first.id).update(fallback_agent=second)

    assert taken(Requirements(agent="first")) is None
    assert selection.why_none(Requirements(agent="first")).lack is Lack.DOWN


@pytest.mark.django_db
def test_an_agent_whose_provider_is_left_out_is_left_out_unless_another_answers_for_it() -> None:
    spare = make_provider("spare", enabled=False)
    until = clock.now() + timedelta(minutes=1)
    make_agent("one", provider=make_provider("p", unhealthy_until=until, fallback_provider=spare))

    assert taken() is None
    assert selection.why_none(ANYBODY).lack is Lack.DOWN

    Provider.objects.filter(id=spare.id).update(enabled=True)
    assert taken() == "one"


@pytest.mark.django_db
def test_of_an_agent_whose_pause_is_over_one_cycle_is_tried() -> None:
    ended = clock.now() - timedelta(seconds=1)
    agent = make_agent("one", failures_in_row=3, unhealthy_until=ended)

    assert [taken(), taken()] == ["one", None]
    agent.refresh_from_db()
    assert agent.unhealthy_until is not None
    assert agent.unhealthy_until - clock.now() == timedelta(seconds=120)


@pytest.mark.django_db
def test_why_there_is_none_is_said() -> None:
    make_busy(make_agent("busy", max_concurrent=2, capabilities=["write"]), places=2)
    make_agent("off", enabled=False, capabilities=["draw"])

    said = {
        wanted: selection.why_none(requirements)
        for wanted, requirements in {
            "unknown": Requirements(agent="nobody"),
            "incapable": Requirements(capabilities=("fly",)),
            "named": Requirements(agent="busy", capabilities=("fly",)),
            "down": Requirements(capabilities=("draw",)),
            "full": Requirements(capabilities=("write",)),
        }.items()
    }

    assert {wanted: one.lack.value for wanted, one in said.items()} == {
        "unknown": "unknown",
        "incapable": "incapable",
        "named": "incapable",
        "down": "down",
        "full": "full",
    }
    assert "'nobody'" in said["unknown"].text
    assert "'fly'" in said["incapable"].text
    assert "'busy' (2 of 2)" in said["full"].text
    assert "'off'" in said["down"].text


@pytest.mark.django_db
def test_those_who_wait_are_found_by_what_is_free_for_them_the_oldest_first() -> None:
    make_busy(make_agent("full", max_concurrent=1), places=1)
    make_agent("two free", max_concurrent=2, capabilities=["write"])
    hidden = [make_cycle("full") for _ in range(3)]
    fitting = [make_cycle(capabilities=["write"]) for _ in range(3)]
    named = make_cycle("two free")

    found = selection.waiting(limit=10)

    assert found == [fitting[0].id, fitting[1].id, named.id]
    assert not {one.id for one in hidden} & set(found)
    assert selection.waiting(limit=1) == [fitting[0].id]


@pytest.mark.django_db
def test_nobody_who_waits_hides_behind_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "PAGE", 2)
    make_busy(make_agent("full", max_concurrent=1), places=1)
    make_agent("free")
    for _ in range(5):
        make_cycle("full")
    last = make_cycle("free")

    assert selection.waiting(limit=3) == [last.id]


@pytest.mark.django_db
def test_who_waits_next_is_the_oldest_that_the_agent_may_serve() -> None:
    stand_in = make_agent("stand-in", max_concurrent=1)
    make_agent("off", enabled=False, fallback_agent=stand_in)
    other = make_agent("other")
    make_cycle("other")
    waits = make_cycle("off")
    make_cycle()

    assert selection.next_waiting(stand_in.id) == waits.id

    make_busy(stand_in, places=1)
    assert selection.next_waiting(stand_in.id) is None
    assert selection.next_waiting(other.id) is not None


@pytest.mark.django_db
def test_choosing_among_many_agents_costs_a_bounded_number_of_statements(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    """Of a thousand agents, and however loaded they are."""
    provider = make_provider()
    Agent.objects.bulk_create(
        Agent(name=f"agent-{one:04}", provider=provider, model="m", capabilities=[f"c{one % 50}"])
        for one in range(1000)
    )
    some = Agent.objects.filter(capabilities=["c7"]).order_by("name")
    make_busy(some[0], places=2)
    cycle = make_cycle()

    with django_assert_max_num_queries(8):
        agent = selection.take(Requirements(capabilities=("c7",)), cycle_id=cycle.id)

    assert agent is not None
    assert agent.name == some[1].name


@pytest.mark.django_db
def test_agents_are_found_by_capability_through_their_index() -> None:
    provider = make_provider()
    Agent.objects.bulk_create(
        Agent(name=f"agent-{one:04}", provider=provider, model="m", capabilities=[f"c{one % 500}"])
        for one in range(2000)
    )
    words = {**Requirements(capabilities=("c7",)).as_parameters(), "has_key": False}

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE agents")
        cursor.execute(f"EXPLAIN {statements.BEST_UNLOCKED}", words)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Bitmap Index Scan on agent_capabilities" in plan


def carry_out(owner: User, *, cycles: int, seed: int) -> list[str]:
    """As a worker does: begin cycles, end some, and give the places of those that ended away."""
    chance = random.Random(seed)
    mine: list[UUID] = []
    breaches: list[str] = []
    try:
        for _ in range(cycles):
            with transaction.atomic():  # nobody sees it before it has a place, or waits for one
                cycle = make_cycle(chance.choice([None, "small", "large"]), owner=owner)
                begin(cycle.id)
            mine.append(cycle.id)
            breaches += above_the_limit()
            while len(mine) > 3:
                end(mine.pop(chance.randrange(len(mine))))
        for one in mine:
            end(one)
    finally:
        connection.close()
    return breaches


def begin(cycle_id: UUID) -> None:
    cycle = Cycle.objects.get(id=cycle_id)
    selection.take(Requirements(agent=asked_of(cycle)), cycle_id=cycle_id)


def asked_of(cycle: Cycle) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT snapshot->'task_config'->>'agent' FROM task_executions WHERE id = %s",
            [cycle.execution_id],
        )
        name: str | None = cursor.fetchone()[0]
    return name


def end(cycle_id: UUID) -> None:
    """End it if it has begun; else it is ended by whoever gives it a place."""
    with transaction.atomic():
        agent_id = (
            Cycle.objects.select_for_update()
            .exclude(stage=CycleStage.WAIT)
            .filter(id=cycle_id, status=CycleStatus.RUNNING)
            .values_list("agent_id", flat=True)
            .first()
        )
        Cycle.objects.filter(id=cycle_id, agent_id=agent_id or UUID(int=0)).update(
            status=CycleStatus.COMPLETED, stage=CycleStage.DONE
        )
    if agent_id is None:
        return
    while (waiting := selection.next_waiting(agent_id)) is not None:
        with suppress(LostRace):  # somebody else has just given it a place, and ended it
            begin(waiting)
        end(waiting)


def above_the_limit() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT a.name, count(*) FROM agents a
            JOIN cycles c ON c.agent_id = a.id AND {statements.WORKING}
            GROUP BY a.id HAVING count(*) > a.max_concurrent"""
        )
        return [f"{name}: {used}" for name, used in cursor.fetchall()]


@pytest.mark.django_db(transaction=True)
def test_no_agent_is_ever_given_more_than_its_places_and_nobody_waits_for_a_free_one() -> None:
    owner = User.objects.create_user("owner")
    make_agent("small", max_concurrent=2)
    make_agent("large", max_concurrent=5)

    with ThreadPoolExecutor(8) as crowd:
        begun = [crowd.submit(carry_out, owner, cycles=25, seed=seed) for seed in range(8)]
        breaches = [one for some in begun for one in some.result()]

    assert breaches == []
    by_stage = Cycle.objects.values_list("stage").annotate(Count("id"))
    assert dict(by_stage) == {CycleStage.DONE: 200}


@pytest.mark.django_db(transaction=True)
def test_who_frees_a_place_sees_a_cycle_that_has_just_found_none() -> None:
    """The last place is freed after a cycle has counted, and before its wait is committed."""
    agent = make_agent("one", max_concurrent=1)
    (busy,) = make_busy(agent, places=1)
    waits = make_cycle("one")

    def free_it() -> UUID | None:
        try:
            Cycle.objects.filter(id=busy.id).update(
                status=CycleStatus.COMPLETED, stage=CycleStage.DONE
            )
            return selection.next_waiting(agent.id)
        finally:
            connection.close()

    Cycle.objects.filter(id=waits.id).update(status=CycleStatus.CANCELLED)
    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            Cycle.objects.filter(id=waits.id).update(status=CycleStatus.RUNNING)
            assert selection.take(Requirements(agent="one"), cycle_id=waits.id) is None
            looking = other.submit(free_it)
            assert_it_waits_for_a_lock()
        assert looking.result() == waits.id


@pytest.mark.django_db(transaction=True)
def test_an_agent_that_somebody_else_is_at_is_waited_for_rather_than_replaced() -> None:
    make_agent("wanted", max_concurrent=2, fallback_agent=make_agent("stand-in"))
    first, second = make_cycle("wanted"), make_cycle("wanted")

    def take(cycle: Cycle) -> str | None:
        try:
            agent = selection.take(Requirements(agent="wanted"), cycle_id=cycle.id)
            return agent.name if agent else None
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            agent = selection.take(Requirements(agent="wanted"), cycle_id=first.id)
            taking = other.submit(take, second)
            assert_it_waits_for_a_lock()
        assert agent is not None
        assert (agent.name, taking.result()) == ("wanted", "wanted")


def assert_it_waits_for_a_lock() -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    for _ in range(2000):
        with connection.cursor() as cursor:
            cursor.execute(waiting)
            if cursor.fetchone()[0]:
                return
            cursor.execute("SELECT pg_sleep(0.005)")
    raise AssertionError("Nobody waits")
