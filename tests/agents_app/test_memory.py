"""What an agent remembers: bounded, without secrets, told to whom it concerns, nearest first."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Sequence
from importlib import import_module
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection

from agents_app import memory, nearness
from agents_app.models import Agent, Memory, Provider
from agents_app.models_memory import MemoryKind
from agents_app.planning.job_context import Note
from errors_app.taxonomy import Cancelled, ErrorClass, HandlerError, LeaseLost
from tests.scale.plans import watched

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
    owner_id: int | None = 0,
    author: str = "",
) -> None:
    memory.remember(
        memory.New(
            agent_id=agent.id,
            owner_id=owner_of(owner_id),
            kind=kind,
            text=text,
            schedule_id=schedule_id,
            execution_id=execution_id,
            author=author,
        )
    )


def owner_of(given: int | None) -> int | None:
    """0 is the first there is."""
    return User.objects.earliest("pk").pk if given == 0 else given


def recalled(agent: Agent | None, **words: object) -> memory.Recalled:
    words = {"schedule_id": SCHEDULE, "owner_id": owner_of(0), **words}
    return memory.recall(agent and agent.id, **words)  # type: ignore[arg-type]


def notes(agent: Agent | None, **words: object) -> list[Note]:
    found = recalled(agent, **words)
    return [*found.messages, *found.others]


def texts(agent: Agent | None, **words: object) -> list[str]:
    return [one.text for one in notes(agent, **words)]


def test_the_newest_comes_first_with_its_kind_and_instant(agent: Agent) -> None:
    keep(agent, "older")
    keep(agent, "newer", kind=OUTCOME)
    keep(agent, "said", kind=MESSAGE)

    found = recalled(agent)

    assert [(one.kind, one.text) for one in found.others] == [
        ("outcome", "newer"),
        ("fact", "older"),
    ]
    assert [one.text for one in found.messages] == ["said"]
    assert all(one.at.tzinfo is not None for one in notes(agent))


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
    assert texts(None) == []


def test_nobody_is_told_what_was_said_about_the_work_of_others(agent: Agent) -> None:
    other = User.objects.create_user("other").pk
    for schedule_id in (SCHEDULE, None):
        for kind in MemoryKind:
            keep(agent, "of another owner", kind=kind, schedule_id=schedule_id, owner_id=other)
    keep(agent, "of everybody", schedule_id=None, owner_id=None, kind=MESSAGE, author="root")
    keep(agent, "of all of mine", schedule_id=None)

    assert texts(agent) == ["of everybody", "of all of mine"]
    assert "of another owner" in texts(agent, owner_id=other)


def test_others_push_nothing_of_mine_out(agent: Agent) -> None:
    other = User.objects.create_user("other").pk
    keep(agent, "mine", schedule_id=None)
    for number in range(52):
        keep(agent, f"theirs {number}", schedule_id=None, owner_id=other)

    assert texts(agent) == ["mine"]


def test_an_agent_pushes_nothing_out_that_people_have_left(agent: Agent) -> None:
    keep(agent, "told by ada", author="ada")
    for number in range(52):
        keep(agent, f"noted {number}")

    assert texts(agent, limit=2) == ["told by ada", "noted 51", "noted 50"]


def test_an_execution_has_one_outcome_that_of_its_last_attempt(agent: Agent) -> None:
    execution = uuid4()
    keep(agent, "it failed", kind=OUTCOME, execution_id=execution)
    keep(agent, "another run", kind=OUTCOME, execution_id=uuid4())
    keep(agent, "a remark", kind=MESSAGE, execution_id=execution)
    keep(agent, "it worked", kind=OUTCOME, execution_id=execution)

    assert texts(agent) == ["a remark", "it worked", "another run"]


def test_texts_are_cut_storable_and_without_secrets(agent: Agent) -> None:
    keep(agent, "password=hunter2-hunter2 \x00" + "x" * 5_000)
    keep(agent, "   ")

    (text,) = texts(agent)

    assert "hunter2-hunter2" not in text
    assert len(text) == 2_000


def placed(given: Sequence[str]) -> list[list[float]]:
    """Two words to tell apart; longer texts lie further from the middle, in the same direction."""
    return [[one.count("cache") * 5.0, one.count("tape") * 2.0] for one in given]


def unable(_: Sequence[str]) -> list[list[float]]:
    raise HandlerError("The model cannot be reached", error_class=ErrorClass.TRANSIENT)


EMBED = memory.Embed("a model", placed)
UNABLE = memory.Embed("a model", unable)


@pytest.fixture(params=["with pgvector", "without"])
def means(request: pytest.FixtureRequest) -> str:
    """Every database that tests run on has the extension; the test's end brings it back."""
    if request.param == "without":
        with connection.cursor() as cursor:
            cursor.execute("DROP EXTENSION vector")
    assert bool(nearness.pgvector()) is (request.param == "with pgvector")
    return str(request.param)


@pytest.mark.usefixtures("means")
def test_what_is_nearest_to_the_question_comes_first(agent: Agent) -> None:
    keep(agent, "the cache is small")
    keep(agent, "something else")
    keep(agent, "the tape is slow")

    found = texts(agent, query="why is the cache cold?", embed=EMBED)

    assert found == ["the cache is small", "the tape is slow", "something else"]
    assert texts(agent, query="tape", embed=EMBED, limit=1) == ["the tape is slow"]


def by_hand(wanted: Sequence[float], vectors: dict[str, list[float]]) -> list[str]:
    def cosine(name: str) -> float:
        pairs = list(zip(wanted, vectors[name], strict=True))
        length = math.hypot(*vectors[name])
        return sum(a * b for a, b in pairs) / length

    return sorted(vectors, key=cosine, reverse=True)


@pytest.mark.usefixtures("means")
def test_both_ways_put_them_into_the_order_of_their_cosines(agent: Agent) -> None:
    chance = random.Random(7)
    vectors = {f"fact {n}": [chance.gauss() for _ in range(64)] for n in range(40)}
    wanted = [chance.gauss() * 1e6 for _ in range(64)]
    embed = memory.Embed("m", lambda given: [vectors.get(one, wanted) for one in given])
    for name in vectors:
        keep(agent, name)

    for _ in range(3):  # a part of them is placed with each question
        found = texts(agent, query="?", embed=embed)

    assert found == by_hand(wanted, vectors)


def test_each_text_is_placed_once_and_few_with_one_question(agent: Agent) -> None:
    asked: list[list[str]] = []

    def vectors(given: Sequence[str]) -> list[list[float]]:
        asked.append(list(given))
        return placed(given)

    embed = memory.Embed("a model", vectors)
    for number in range(20):
        keep(agent, f"cache {number}")

    for _ in range(3):
        recalled(agent, query="?", embed=embed)

    assert [len(one) - 1 for one in asked] == [nearness.PLACED_AT_ONCE, 4, 0]
    assert asked[0][:2] == ["?", "cache 19"]
    assert Memory.objects.filter(space="a model").count() == 20


@pytest.mark.usefixtures("means")
def test_vectors_of_two_models_are_never_compared(agent: Agent) -> None:
    keep(agent, "the tape")
    recalled(agent, query="cache", embed=EMBED)
    Memory.objects.update(space="another model", vector=[1.0, 0.0])  # where the cache is there
    keep(agent, "one more cache")
    for _ in range(nearness.PLACED_AT_ONCE):
        keep(agent, "a cache")

    found = texts(agent, query="cache", embed=EMBED)

    assert found[-1] == "the tape"
    assert Memory.objects.get(text="the tape").space == "another model"
    recalled(agent, query="cache", embed=EMBED)
    recalled(agent, query="cache", embed=EMBED)
    assert Memory.objects.get(text="the tape").space == "a model"


@pytest.mark.usefixtures("means")
def test_vectors_of_another_length_are_not_compared(agent: Agent) -> None:
    keep(agent, "cache")
    recalled(agent, query="cache", embed=EMBED)
    Memory.objects.update(vector=[1.0, 0.0, 0.0])
    keep(agent, "tape")

    assert texts(agent, query="cache", embed=EMBED) == ["tape", "cache"]


@pytest.mark.usefixtures("means")
def test_what_has_no_direction_comes_last(agent: Agent) -> None:
    keep(agent, "the cache")
    keep(agent, "nothing of either")

    assert texts(agent, query="cache", embed=EMBED) == ["the cache", "nothing of either"]
    found = recalled(agent, query="neither", embed=EMBED)
    assert [one.text for one in found.others] == ["nothing of either", "the cache"]
    assert found.trouble == ""


def test_messages_come_by_their_age_whatever_is_near(agent: Agent) -> None:
    keep(agent, "cache", kind=MESSAGE, author="ada")
    for number in range(3):
        keep(agent, f"news {number}", kind=MESSAGE, author="ada")
    keep(agent, "a fact")

    found = recalled(agent, query="cache", embed=EMBED, limit=3)

    assert [one.text for one in found.messages] == ["news 2", "news 1", "news 0"]


def test_without_embeddings_the_newest_comes_first_and_it_says_why(agent: Agent) -> None:
    keep(agent, "the cache is small")
    keep(agent, "the tape is slow")

    without, failed = recalled(agent, query="cache"), recalled(agent, query="cache", embed=UNABLE)

    assert without.others == failed.others
    assert [one.text for one in without.others] == ["the tape is slow", "the cache is small"]
    assert without.trouble == ""
    assert failed.trouble.endswith("by its age alone: The model cannot be reached")


@pytest.mark.parametrize(
    "vectors",
    [[], [[float("nan")]] * 2, [[1.0], []], [[1.0], [10.0**308] * 9], [[0.1] * 5_000] * 2],
)
def test_vectors_that_are_none_change_nothing(agent: Agent, vectors: list[list[float]]) -> None:
    keep(agent, "one")

    found = recalled(agent, query="?", embed=memory.Embed("a model", lambda _: vectors))

    assert [one.text for one in found.others] == ["one"]
    assert "cannot be used" in found.trouble
    assert not Memory.objects.exclude(space="").exists()


@pytest.mark.parametrize("error", [Cancelled("asked to stop"), LeaseLost("another's")])
def test_what_ends_the_execution_is_not_taken_for_a_failure_of_memory(
    agent: Agent, error: Exception
) -> None:
    def stop(_: Sequence[str]) -> list[list[float]]:
        raise error

    keep(agent, "one")

    with pytest.raises(type(error)):
        recalled(agent, query="?", embed=memory.Embed("a model", stop))


def test_nobody_is_asked_where_there_is_nothing_to_compare(agent: Agent) -> None:
    keep(agent, "a message", kind=MESSAGE)

    assert recalled(agent, query="?", embed=UNABLE).trouble == ""


def test_who_may_make_no_extension_goes_on_without() -> None:
    statement = import_module("agents_app.migrations.0004_memory").VECTORS
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION vector")
        cursor.execute("CREATE ROLE nobody_in_particular")
        cursor.execute("SET LOCAL ROLE nobody_in_particular")
        cursor.execute(statement)
        cursor.execute("RESET ROLE")
        without = nearness.means()
        cursor.execute(statement)

    assert "without pgvector" in without
    assert nearness.means().startswith("with pgvector 0.")


MANY = """
INSERT INTO agent_memories (agent_id, owner_id, schedule_id, kind, text, space, vector)
SELECT %(agent)s, %(owner)s, md5((n / 100)::text)::uuid, 'fact', 'fact ' || n, 'a model',
    ARRAY[n %% 7, 1]::real[]
FROM generate_series(1, 20000) AS n
"""


@pytest.mark.parametrize("means", ["with pgvector"], indirect=True)
@pytest.mark.usefixtures("means")
def test_a_question_looks_at_few_rows_however_much_an_agent_remembers_of_its_owner(
    agent: Agent, owner: User
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(MANY, {"agent": agent.id, "owner": owner.pk})
        cursor.execute("ANALYZE agent_memories")
    keep(agent, "the tape")
    keep(agent, "everywhere", schedule_id=None)

    with watched() as seen:
        found = texts(agent, query="cache", embed=EMBED)

    assert set(found) == {"the tape", "everywhere"}
    assert max(one.most_scanned() for one in seen.plans) <= 100, "\n".join(map(str, seen.plans))
    seen.must_cost_little(pages=100)


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
