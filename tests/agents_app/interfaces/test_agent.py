"""An agent is begun once at a time, stopped from outside, and heard."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from agents_app.interfaces.agent import AlreadyRunning, BaseAgent, Level, Options, Subject
from errors_app.taxonomy import Cancelled
from executions_app.events import NewEvent
from executions_app.models import Event

PATIENCE_SECONDS = 20


class Counting(BaseAgent[int, list[int]]):
    """Counts up to its config, and pauses once it has begun until it is let go."""

    def __init__(self, *args: object, **words: object) -> None:
        super().__init__(*args, **words)  # type: ignore[arg-type]
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()

    def execute_impl(self, config: int) -> list[int]:
        self.has_begun.set()
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        done = []
        for one in range(config):
            self.check()
            done.append(one)
        return done


def heard() -> tuple[Counting, list[NewEvent]]:
    told: list[NewEvent] = []
    return Counting("counter", tell=told.append), told


def test_an_agent_runs_and_says_so_while_it_does() -> None:
    agent, told = heard()
    before = agent.is_running

    with ThreadPoolExecutor(1) as other:
        running = other.submit(agent.execute, 3)
        assert agent.has_begun.wait(PATIENCE_SECONDS)
        during = agent.is_running
        agent.may_go_on.set()
        result = running.result()

    assert (before, during, agent.is_running) == (False, True, False)
    assert result == [0, 1, 2]
    assert told == []


def test_an_agent_that_is_stopped_in_the_middle_ends_at_its_next_look() -> None:
    agent, told = heard()

    with ThreadPoolExecutor(1) as other:
        running = other.submit(agent.execute, 3)
        assert agent.has_begun.wait(PATIENCE_SECONDS)
        agent.stop()
        assert agent.should_stop
        agent.may_go_on.set()
        with pytest.raises(Cancelled, match="'counter' was asked to stop"):
            running.result()

    assert not agent.is_running
    assert [(one.data["event"], one.data["level"]) for one in told] == [("cancelled", "warning")]
    agent.may_go_on.set()
    assert agent.execute(1) == [0]  # it was that run that was to stop


def test_an_agent_does_one_thing_at_a_time() -> None:
    agent, _ = heard()

    with ThreadPoolExecutor(1) as other:
        running = other.submit(agent.execute, 1)
        assert agent.has_begun.wait(PATIENCE_SECONDS)
        with pytest.raises(AlreadyRunning):
            agent.execute(1)
        agent.may_go_on.set()
        assert running.result() == [0]


def test_whoever_runs_an_agent_may_end_it_too() -> None:
    agent, _ = heard()
    agent.may_go_on.set()

    def over() -> None:
        raise Cancelled("the execution was")

    with pytest.raises(Cancelled, match="the execution was"):
        agent.execute(1, Options(check=over))


class Saying(BaseAgent[None, None]):
    """Says one thing of each level."""

    def execute_impl(self, config: None) -> None:
        del config
        self.log_event("looked", "found 3", {"found": 3})
        self.log_event("waited", "slow, with password=hunter2hunter2", level=Level.WARNING)
        self.log_event("broke", "x" * 9000, {"token": "abc"}, level=Level.ERROR)


@pytest.mark.django_db
def test_what_an_agent_says_is_stored_for_whose_execution_it_is() -> None:
    subject = Subject(agent="sayer", owner_id=7, execution_id=uuid4(), schedule_id=uuid4())

    Saying("sayer").execute(None, Options(subject=subject))

    events = list(Event.objects.order_by("id"))
    assert {one.type for one in events} == {"agent:log"}
    assert {(one.owner_id, one.execution_id, one.schedule_id) for one in events} == {
        (7, subject.execution_id, subject.schedule_id)
    }
    said = [(one.data["event"], one.data["level"], one.severity) for one in events]
    assert said == [
        ("looked", "info", ""),
        ("waited", "warning", "medium"),
        ("broke", "error", "high"),
    ]
    assert events[0].data["data"] == {"found": 3}
    assert "hunter2" not in events[1].data["message"]
    assert len(events[2].data["message"]) == 2000
    assert "abc" not in str(events[2].data)


@pytest.mark.django_db
def test_what_an_agent_says_without_an_execution_is_its_own() -> None:
    Saying("sayer").execute(None)

    assert {one.topic for one in Event.objects.all()} == {"agent:sayer"}
