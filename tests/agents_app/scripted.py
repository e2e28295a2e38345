"""A handler that does what the test that is running wants, and what such tests look at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import connection
from pydantic import BaseModel, ConfigDict

from agents_app.handlers.base import Context, Handler, Outcome
from agents_app.tasks import run_executions
from executions_app.models import Execution

Queue = Callable[..., UUID]
PATIENCE_SECONDS = 20


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


class Scripted(Handler[Anything]):
    """Does what the test that is running wants."""

    config_model = Anything
    nature = "io"
    script: Callable[[Context[Anything]], Any] = staticmethod(lambda _: None)
    started = threading.Event()
    told_to_cancel = threading.Event()

    def run(self, context: Context[Anything]) -> Outcome:
        self.started.set()
        return Outcome(output=Scripted.script(context))

    def cancel(self, context: Context[Anything]) -> None:  # noqa: ARG002  the interface's
        self.told_to_cancel.set()


def stored(execution_id: UUID) -> Execution:
    return Execution.objects.get(id=execution_id)


def until_checked(context: Context[Anything]) -> None:
    """Work until the context says stop; a context that never does fails the test."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        context.check()
        threading.Event().wait(0.01)
    raise AssertionError("the handler was never told to stop")


def in_the_background(*execution_ids: UUID) -> threading.Thread:
    """Runs a message of these executions in a thread of its own."""

    def work() -> None:
        run_executions(execution_ids=[str(one) for one in execution_ids])
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread
