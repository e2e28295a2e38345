"""A tool of a step that leaves something for later: a fact that the agent is reminded of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from agents_app import memory
from agents_app.models_memory import MemoryKind
from agents_app.models_objects import SideEffect
from agents_app.tools.base import ToolContext, ToolRefused, tool


@tool(
    "remember",
    description="Keeps one fact in the agent's memory for later runs of this schedule.",
    schema={
        "type": "object",
        "properties": {"fact": {"type": "string", "minLength": 1, "maxLength": memory.MOST_TEXT}},
        "required": ["fact"],
        "additionalProperties": False,
    },
    side_effect=SideEffect.WRITE,
    keywords=frozenset({"remember", "memory", "learn", "note", "fact"}),
    timeout_seconds=10.0,
    retries=0,
)
def remember(arguments: Mapping[str, Any], context: ToolContext) -> JsonValue:
    """Keep it for the agent of this step; raises ToolRefused if there is none."""
    if context.agent_id is None:
        raise ToolRefused("remember", "this cycle has no agent that could remember")
    fact = arguments["fact"]
    memory.remember(
        memory.New(
            agent_id=context.agent_id,
            owner_id=context.owner_id,
            kind=MemoryKind.FACT,
            text=fact,
            schedule_id=context.schedule_id,
            execution_id=context.execution_id,
        )
    )
    return {"remembered": fact}
