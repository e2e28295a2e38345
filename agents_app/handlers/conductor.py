"""Carries out `conductor`: an execution as a message in a thread of a Conductor, to its end there.

The Conductor may answer at once with the result, or take the message and be asked until it is
done. Whoever ends the execution early - cancelled, or out of time - has the thread cancelled, too.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from agents_app.clients import conductor, conductor_errors, statuses
from agents_app.clients.conductor import ConductorClient
from agents_app.clients.conductor_errors import ConductorTimeout
from agents_app.clients.conductor_shapes import Message, Thread
from agents_app.clients.patience import pause
from agents_app.handlers.base import Context, Handler, Outcome
from config.env import env
from errors_app.taxonomy import Cancelled, DeadlineExceeded, ErrorClass
from executions_app.states import SchedulerException

FIRST_LOOK_SECONDS: Final = 0.2
LONGEST_LOOK_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class ConductorConfig(BaseModel):
    """`content`: the task in words. `thread_id`: unless given, each execution has its own thread.

    `timeout_ms`: for the task, within the execution's own; unless given, CONDUCTOR_TIMEOUT.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    content: Annotated[str, Field(min_length=1, max_length=100_000)]
    thread_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,199}$")] | None = (
        None
    )
    timeout_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = None


class ConductorTask(Handler[ConductorConfig]):
    """Every attempt of an execution carries a key of its own: a later one is a new message."""

    config_model = ConductorConfig
    nature = "io"

    def __init__(self, client: ConductorClient | None = None) -> None:
        self._client = client
        self._cancelled: set[tuple[UUID, int]] = set()

    def run(self, context: Context[ConductorConfig]) -> Outcome:
        """Send the message and wait for its end; raises ConductorError."""
        try:
            thread = self._carry_out(context)
        except (Cancelled, DeadlineExceeded, ConductorTimeout) as stop:
            self._cancel_soon(context, reason=str(stop))
            raise
        finally:
            self._cancelled.discard((context.execution_id, context.attempt))
        if thread.status != "completed":
            raise conductor_errors.failed(thread)
        return Outcome(
            output={
                "thread_id": thread.thread_id,
                "message_id": thread.message_id,
                "output": thread.output,
            }
        )

    def cancel(self, context: Context[ConductorConfig]) -> None:
        """Cancel the thread; the heartbeat, which calls this, does not wait for it."""
        if getattr(context, "is_cancelled", True):  # else the lease is lost: it is another's now
            self._cancel_soon(context, reason="the execution was cancelled")

    def _carry_out(self, context: Context[ConductorConfig]) -> Thread:
        config = context.config
        seconds = (context.deadline - datetime.now(UTC)).total_seconds()
        seconds = min(seconds, (config.timeout_ms or env.conductor_timeout) / 1000)
        ends = time.monotonic() + seconds
        message = Message(
            content=config.content,
            parameters=dict(context.parameters),
            execution_id=context.execution_id,
            attempt=context.attempt,
            timeout_ms=max(1, round(seconds * 1000)),
        )
        thread_id = _thread_id(context)
        key = f"{context.execution_id}:{context.attempt}"
        thread = self._door().execute_task(
            thread_id,
            message,
            key=key,
            request_id=statuses.request_id_of(context),
            check=context.check,
        )
        return self._end_of(thread, thread_id, ends=ends, context=context)

    def _end_of(
        self, thread: Thread, thread_id: str, *, ends: float, context: Context[ConductorConfig]
    ) -> Thread:
        """The thread once it is over, asked for ever more rarely; raises ConductorTimeout."""
        wait = FIRST_LOOK_SECONDS
        while not thread.is_over:
            left = ends - time.monotonic()
            if left <= 0:
                raise ConductorTimeout(
                    "The Conductor was not done in time", error_class=ErrorClass.TIMEOUT
                )
            pause(min(wait, left), context.check)
            wait = min(2 * wait, LONGEST_LOOK_SECONDS)
            thread = self._door().get_thread_status(
                thread_id,
                request_id=statuses.request_id_of(context),
                seconds=max(0.1, ends - time.monotonic()),
                check=context.check,
            )
        return thread

    def _door(self) -> ConductorClient:
        return self._client or conductor.client()

    def _cancel_soon(self, context: Context[ConductorConfig], *, reason: str) -> None:
        """In a thread of its own, and once only."""
        attempt = (context.execution_id, context.attempt)
        if attempt in self._cancelled:
            return
        self._cancelled.add(attempt)
        threading.Thread(
            target=self._cancel_thread,
            args=(
                _thread_id(context),
                context.execution_id,
                reason,
                statuses.request_id_of(context),
            ),
            name="conductor-cancel",
            daemon=True,
        ).start()

    def _cancel_thread(
        self, thread_id: str, execution_id: UUID, reason: str, request_id: str
    ) -> None:
        try:
            self._door().cancel_thread(
                thread_id, execution_id=execution_id, reason=reason, request_id=request_id
            )
        except SchedulerException as error:
            logger.warning("The thread %s could not be cancelled: %s", thread_id, error)


def _thread_id(context: Context[ConductorConfig]) -> str:
    return context.config.thread_id or str(context.execution_id)
