"""Carries out executions by an agent of one's own: a `BaseAgent` that EXTRA_HANDLERS leads to."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel

from agents_app import connections
from agents_app.context import RunContext
from agents_app.handlers.base import Context, Handler, Outcome
from agents_app.interfaces.agent import BaseAgent, Options, Subject
from executions_app import live
from executions_app.events import NewEvent

C = TypeVar("C", bound=BaseModel)


class OwnAgent(Handler[C], Generic[C]):
    """A task type of one's own: a subclass names the class of the agent and its config model.

    Each execution has an agent to itself, which is named by the task type. It ends with the
    execution: a cancel request, the time limit and a lost lease reach it by its `check`, and a
    cancel request by `should_stop`, too.
    """

    agent: ClassVar[type[BaseAgent[Any, Any]]]
    nature: ClassVar[Literal["io", "process", "cpu"]] = "io"

    def __init__(self) -> None:
        self._at_work: dict[UUID, BaseAgent[Any, Any]] = {}

    def run(self, context: Context[C]) -> Outcome:
        """What the agent gives back is the result of the execution."""
        assert isinstance(context, RunContext)  # an agent's log belongs to whoever owns the run
        held = context.claimed
        agent = self.agent(str(held.snapshot["task_type"]), tell=_tell)
        self._at_work[held.id] = agent
        subject = Subject(
            agent=agent.name,
            owner_id=held.owner_id,
            execution_id=held.id,
            schedule_id=held.schedule_id,
        )
        options = Options(subject=subject, parameters=context.parameters, check=context.check)
        try:
            return Outcome(output=agent.execute(context.config, options))
        finally:
            del self._at_work[held.id]

    def cancel(self, context: Context[C]) -> None:
        """Let the agent know, which may look at `should_stop` where it cannot `check`."""
        agent = self._at_work.get(context.execution_id)
        if agent is not None:
            agent.stop()


def _tell(event: NewEvent) -> None:
    try:
        live.send_to_subscribers(event)
    finally:
        connections.let_go()
