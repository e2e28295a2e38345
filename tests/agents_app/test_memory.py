"""What an agent remembers: bounded, without secrets, the newest or the nearest first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection

from agents_app import memory
from agents_app.models import Agent, Memory, Provider
from agents_app.models_memory import MemoryKind
from errors_app.taxonomy import ErrorClass, HandlerError

SCHEDULE, OTHER = uuid4(), uuid4()
OUTCOME, MESSAGE, FACT = MemoryKind.OUTCOME, MemoryKind.MESSAGE, MemoryKind.FACT
pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def agent(owner: User) -> Agent:
    provider = Provider.objects.create(name="a provider", base_url="http://127.0.0.1:1/v1")
    return Agent.objects.create(name="an agent", provider=provider, model="a-model")


def keep(
    agent: Agent,
    text: str,
    *,
    kind: MemoryKind = FACT,
    schedule_id: UUID | None = SCHEDULE,
    execution_id: UUID | None = None,
    embed: memory.Embed | None = None,
) -> None:
    owner_id = User.objects.get().pk
    memory.remember(
        memory.New(
            agent_id=agent.id,
            owner_id=owner_id,
            kind=kind,
            text=text,
            schedule_id=schedule_id,
            execution_id=execution_id,
        ),
        embed=embed,
    )


def texts(agent: Agent, **words: object) -> list[str]:
    words.setdefault("schedule_id", SCHEDULE)
    return [one.text for one in memory.recall(agent.id, **words)]  # type: ignore[arg-type]


def test_the_newest_comes_first_with_its_kind_and_instant(agent: Agent) -> None:
    keep(agent, "older")
    keep(agent, "newer", kind=MESSAGE)

    found = memory.recall(agent.id, schedule_id=SCHEDULE)

    assert [(one.kind, one.text) for one in found] == [("message", "newer"), ("fact", "older")]
    assert all(one.at.tzinfo is not None for one in found)


def test_of_each_kind_the_newest_fifty_are_kept_for_each_schedule(agent: Agent) -> None:
    keep(agent, "the only message", kind=MESSAGE)
    keep(agent, "of another schedule", schedule_id=OTHER)
    for number in range(53):
        keep(agent, f"fact {number}")

    kept = Memory.objects.filter(schedule_id=SCHEDULE, kind=FACT.value).order_by("id")

    assert [one.text for one in kept] == [f"fact {number}" for number in range(3, 53)]
    assert Memory.objects.count() == 52


def test_what_belongs_to_no_schedule_is_bounded_and_recalled_for_every_schedule(
    agent: Agent,
) -> None:
    for number in range(52):
        keep(agent, f"general {number}", schedule_id=None)

    assert Memory.objects.count() == 50
    assert texts(agent, schedule_id=OTHER)[0] == "general 51"
    assert texts(agent, schedule_id=None)[0] == "general 51"


def test_many_outcomes_hide_no_fact(agent: Agent) -> None:
    keep(agent, "the fact")
    for number in range(8):
        keep(agent, f"outcome {number}", kind=OUTCOME)

    assert texts(agent, limit=2) == ["outcome 7", "outcome 6", "the fact"]


def test_an_agent_is_told_nothing_of_other_schedules_and_agents(agent: Agent) -> None:
    other = Agent.objects.create(name="other", provider=agent.provider, model="a-model")
    keep(agent, "of another schedule", schedule_id=OTHER)
    keep(other, "of another agent")

    assert texts(agent) == []
    assert memory.recall(None, schedule_id=SCHEDULE) == []


def test_an_execution_has_one_outcome_that_of_its_last_attempt(agent: Agent) -> None:
    execution = uuid4()
    keep(agent, "it failed", kind=OUTCOME, execution_id=execution)
    keep(agent, "another run", kind=OUTCOME, execution_id=uuid4())
    keep(agent, "a remark", kind=MESSAGE, execution_id=execution)
    keep(agent, "it worked", kind=OUTCOME, execution_id=execution)

    assert texts(agent) == ["it worked", "a remark", "another run"]


def test_texts_are_cut_storable_and_without_secrets(agent: Agent) -> None:
    keep(agent, "password=hunter2-hunter2 \x00" + "x" * 5_000)
    keep(agent, "   ")

    (text,) = texts(agent)

    assert "hunter2-hunter2" not in text
    assert len(text) == 2_000


def embed(given: Sequence[str]) -> list[list[float]]:
    """Two words to tell apart; longer texts lie further from the middle, in the same direction."""
    assert not connection.in_atomic_block or len(connection.savepoint_ids) <= 1
    return [[one.count("cache") * 5.0, one.count("tape") * 2.0] for one in given]


def unable(_: Sequence[str]) -> list[list[float]]:
    raise HandlerError("The model cannot be reached", error_class=ErrorClass.TRANSIENT)


def test_what_is_nearest_to_the_question_comes_first(agent: Agent) -> None:
    keep(agent, "the cache is small", embed=embed)
    keep(agent, "nobody has compared this")
    keep(agent, "the tape is slow", embed=embed)

    found = texts(agent, query="why is the cache cold?", embed=embed)

    assert found == ["the cache is small", "the tape is slow", "nobody has compared this"]
    assert texts(agent, query="tape", embed=embed, limit=1) == ["the tape is slow"]


def test_without_embeddings_the_newest_comes_first(agent: Agent) -> None:
    keep(agent, "the cache is small", embed=embed)
    keep(agent, "the tape is slow", embed=embed)

    assert texts(agent, query="cache") == ["the tape is slow", "the cache is small"]
    assert texts(agent, query="cache", embed=unable) == ["the tape is slow", "the cache is small"]


def test_a_text_is_remembered_though_nobody_can_compare_it(agent: Agent) -> None:
    keep(agent, "one", embed=unable)
    keep(agent, "two", embed=lambda _: [[float("nan")]])
    keep(agent, "three", embed=lambda _: [])

    assert texts(agent) == ["three", "two", "one"]
    assert not Memory.objects.filter(embedding__isnull=False).exists()


@pytest.mark.django_db(transaction=True)
def test_many_who_remember_at_once_do_not_stand_in_each_others_way(agent: Agent) -> None:
    for number in range(50):
        keep(agent, f"old {number}")
    problems: list[Exception] = []

    def remember_some(name: str) -> None:
        try:
            for number in range(10):
                keep(agent, f"{name} {number}")
        except Exception as error:  # noqa: BLE001  told to the test
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=remember_some, args=[f"thread {n}"]) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    keep(agent, "the last")

    assert problems == []
    assert Memory.objects.count() == 50
    assert texts(agent)[0] == "the last"
    assert not any(text.startswith("old") for text in texts(agent)[:41])
