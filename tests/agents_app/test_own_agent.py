"""An agent of one's own carries out executions like any handler, and is heard under them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, JsonValue

from agents_app import runner
from agents_app.handlers import registry
from agents_app.handlers.own_agent import OwnAgent
from agents_app.heartbeat import heartbeat
from agents_app.interfaces.agent import BaseAgent, Level
from errors_app.models import ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import lifecycle
from executions_app.models import Event
from tests.agents_app.scripted import PATIENCE_SECONDS, Queue, in_the_background, stored

pytestmark = pytest.mark.django_db(transaction=True)


class Shelves(BaseModel):
    shelves: int = 3


class Sweeper(BaseAgent[Shelves, JsonValue]):
    """Sweeps shelves, as the test that is running wants."""

    begun = threading.Event()
    work: Callable[[Sweeper], None] = staticmethod(lambda _: None)

    def execute_impl(self, config: Shelves) -> JsonValue:
        self.begun.set()
        Sweeper.work(self)
        self.log_event("swept", "all of them", {"shelves": config.shelves}, Level.WARNING)
        return {"shelves": config.shelves, "by": str(self.parameters.get("by", "nobody"))}


class Sweep(OwnAgent[Shelves]):
    config_model = Shelves
    agent = Sweeper


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, "sweep", Sweep)
    Sweeper.begun.clear()
    Sweeper.work = staticmethod(lambda _: None)


def sweeping(queue: Queue, **words: Any) -> UUID:
    return queue(task_type="sweep", task_config={"shelves": 2}, **words)


def test_what_an_agent_gives_back_is_the_result_and_what_it_says_is_the_owners(
    queue: Queue,
) -> None:
    execution_id = sweeping(queue)

    runner.run([execution_id])

    row = stored(execution_id)
    assert (row.status, row.result) == ("completed", {"shelves": 2, "by": "nobody"})
    said = Event.objects.get(type="agent:log")
    assert (said.owner_id, said.execution_id) == (row.owner_id, execution_id)
    assert (said.data["agent"], said.data["event"]) == ("sweep", "swept")
    assert said.data["data"] == {"shelves": 2}


def test_an_agent_that_fails_says_how_and_recovery_decides(queue: Queue) -> None:
    def break_down(_: Sweeper) -> None:
        raise HandlerError("the broom broke", error_class=ErrorClass.TRANSIENT)

    Sweeper.work = staticmethod(break_down)
    execution_id = sweeping(queue, max_retries=1)

    runner.run([execution_id])

    assert stored(execution_id).status == "pending"
    assert ErrorRecord.objects.get().message == "the broom broke"
    said = Event.objects.get(type="agent:log")
    assert (said.data["event"], said.data["level"]) == ("failed", "error")


def test_an_agent_that_cannot_look_up_hears_of_a_cancel_request(queue: Queue) -> None:
    def until_told(agent: Sweeper) -> None:
        for _ in range(PATIENCE_SECONDS * 100):
            if agent.should_stop:
                agent.check()
            threading.Event().wait(0.01)

    Sweeper.work = staticmethod(until_told)
    execution_id = sweeping(queue)
    thread = in_the_background(execution_id)
    assert Sweeper.begun.wait(PATIENCE_SECONDS)

    lifecycle.cancel(stored(execution_id))
    heartbeat.hear()

    thread.join(PATIENCE_SECONDS)
    assert stored(execution_id).status == "cancelled"
