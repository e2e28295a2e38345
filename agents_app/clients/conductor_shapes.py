"""What is said to a Conductor and what it says, as its three calls carry it; see docs/guides/ai.md.

The names on the wire are camelCase. What an answer holds beyond this is left out.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

Status = Literal["queued", "running", "completed", "failed", "cancelled"]


class _Shape(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class Message(_Shape):
    """POST /api/threads/{threadId}/messages: a task for the agent of a thread."""

    content: str
    parameters: dict[str, JsonValue] = {}
    execution_id: UUID
    attempt: Annotated[int, Field(ge=1)] = 1
    timeout_ms: Annotated[int, Field(ge=1)]


class TaskError(_Shape):
    """Why a task failed; `retryable`: whether another try may help, as the Conductor sees it."""

    code: str = ""
    message: str = ""
    retryable: bool = False


class Thread(_Shape):
    """What all three calls answer: the thread, and the latest message's state and output."""

    thread_id: str
    message_id: str | None = None
    status: Status
    output: JsonValue = None
    error: TaskError | None = None

    @property
    def is_over(self) -> bool:
        return self.status in {"completed", "failed", "cancelled"}


class Cancellation(_Shape):
    """POST /api/threads/{threadId}/cancel: end what the thread does for this execution."""

    execution_id: UUID
    reason: str = ""


class Refusal(_Shape):
    """The body of an answer from 400 on, as far as there is one."""

    error: TaskError | str | None = None
    message: str = ""

    @property
    def text(self) -> str:
        """What it says, in one line."""
        said = self.error.message if isinstance(self.error, TaskError) else self.error
        return said or self.message
