"""`manage.py tokens prompt`: what the next prompt of a schedule takes, and what limits save."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from agents_app import memory
from agents_app.models import ModelCall, Provider
from agents_app.models_memory import MemoryKind
from scheduler_app.models import Schedule
from tests.agents_app.agents import make_agent
from tests.agents_app.endpoints import registered
from tests.terminal import run

MakeSchedule = Callable[..., Schedule]


@pytest.fixture(autouse=True)
def root(owner: User) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def schedule(owner: User, make_schedule: MakeSchedule) -> Schedule:
    registered("http://127.0.0.1:9/alpha", owner=owner, name="alpha")
    agent = make_agent("one", tools=["now", "wait"])
    config = {"goal": "keep it warm", "endpoints": ["alpha"], "tools": ["now"], "agent": "one"}
    made = make_schedule("warm", task_type="agent", task_config=config)
    for number in range(20):
        memory.remember(
            memory.New(
                agent_id=agent.id,
                owner_id=owner.pk,
                kind=MemoryKind.FACT,
                text=f"fact {number}: " + "it was warm again " * 20,
                schedule_id=made.id,
            )
        )
    return made


def told(*arguments: str) -> dict[str, Any]:
    ended = run("tokens", "prompt", "warm", *arguments, "--json")
    assert ended.exit_code == 0, ended.stderr
    document: dict[str, Any] = ended.document
    return document


@pytest.mark.usefixtures("schedule")
def test_it_shows_tokens_before_and_after_by_section_and_asks_nobody() -> None:
    usual, tight = told(), told("--max-tokens", "1000")

    assert usual["tokens_before"] == tight["tokens_before"] > 1_000
    assert tight["tokens_after"] < usual["tokens_after"]
    assert tight["delta"] == tight["tokens_before"] - tight["tokens_after"] > 0
    assert tight["dropped"]["memory"] > 0
    sections = {one["name"]: one for one in tight["sections"]}
    assert sections["endpoints"]["after"] > 0
    assert sections["memory"]["after"] < sections["memory"]["before"]
    assert (tight["agent"], tight["model"], tight["phase"]) == ("one", "small", "plan")
    assert not ModelCall.objects.exists()


@pytest.mark.parametrize(("phase", "most"), [("plan", 2_000), ("schedule", 2_500)])
@pytest.mark.usefixtures("schedule")
def test_a_small_model_is_told_no_more_than_it_holds(phase: str, most: int) -> None:
    unbounded = told("--phase", phase)
    Provider.objects.update(models=[{"name": "small", "context_tokens": 5_000}])

    bounded = told("--phase", phase)

    assert (unbounded["max_tokens"], bounded["max_tokens"]) == (8_000, most)
    assert bounded["fits"]
    assert told("--phase", phase, "--max-tokens", "900")["max_tokens"] == 900


@pytest.mark.usefixtures("schedule")
def test_people_read_the_same_as_a_table() -> None:
    ended = run("tokens", "prompt", "warm", "--max-tokens", "1000", "--phase", "schedule")

    assert ended.exit_code == 0
    for word in ("SECTION", "memory", "whole prompt", "saved", "left out", "one (small)"):
        assert word in ended.stdout


def test_a_schedule_that_no_agent_can_carry_out_has_a_prompt_all_the_same(
    make_schedule: MakeSchedule,
) -> None:
    config = {"goal": "keep it warm", "endpoints": ["alpha"]}
    make_schedule("warm", task_type="agent", task_config=config)

    assert told()["agent"] is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("warm", "--max-tokens", "10"), 2),
        (("plain",), 2),
        (("nobody",), 4),
    ],
)
@pytest.mark.usefixtures("schedule")
def test_what_cannot_be_shown_ends_with_its_code(
    make_schedule: MakeSchedule, arguments: tuple[str, ...], code: int
) -> None:
    make_schedule("plain")

    assert run("tokens", "prompt", *arguments, "--json").exit_code == code
