"""A plan as it would be carried out: the rows of its steps, what they may change, their hash.

A person says yes to these rows and to no others: what would be called, with which parameters, in
which order, and each endpoint as it was registered when the plan was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from agents_app import tools
from agents_app.models_objects import SideEffect
from agents_app.tools import Tool, ToolUnknown
from executions_app.models import Step


def steps(execution_id: UUID) -> list[Step]:
    """The steps of an execution's plan, in its order."""
    return list(Step.objects.filter(execution_id=execution_id).order_by("position", "id"))


def fingerprint(found: Sequence[Step], *, concurrency: int) -> str:
    """64 hex digits that differ as soon as anything would be carried out in another way."""
    content = {
        "concurrency": concurrency,
        "steps": [
            {
                "id": str(one.id),
                "wave": one.wave,
                "name": one.name,
                "is_critical": one.is_critical,
                "depends_on": sorted(map(str, one.depends_on)),
                "config": one.config,
            }
            for one in found
        ],
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def risks(found: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps that may change something, each with why; what nobody knows may, too."""
    seen = ((one, risk_of(one.name, one.config)) for one in found)
    return [{"position": one.position, "name": one.name, "why": why} for one, why in seen if why]


def risk_of(name: str, config: Mapping[str, Any]) -> str:
    """Why a step may change something; empty if it only reads."""
    if config.get("target") == "tool":
        return _risk_of_tool(name)
    endpoint = config.get("endpoint") or {}
    if endpoint.get("side_effect") == SideEffect.READ:
        return ""
    return f"{endpoint.get('method', 'its call')} changes something there"


def _risk_of_tool(name: str) -> str:
    """Also of whatever takes the tool's place when it fails."""
    try:
        tool = tools.find(name)
    except ToolUnknown:
        return "nobody here knows this tool"
    if why := _powers(tool):
        return why
    for other in tool.alternatives:
        if why := _risk_of_stand_in(other):
            return f"when it fails, {other!r} takes its place, which {why}"
    return ""


def _risk_of_stand_in(name: str) -> str:
    try:
        return _powers(tools.find(name))
    except ToolUnknown:
        return ""  # then it is not taken


def _powers(tool: Tool) -> str:
    if tool.side_effect is SideEffect.WRITE:
        return "changes something"
    return f"needs the permission {tool.permission!r}" if tool.permission else ""
