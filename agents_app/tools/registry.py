"""Finds the tool of a step: one table from name to tool, read by all who ask.

To add a tool of Cadenza itself, add a line to TOOLS; one of your own is named by the setting
EXTRA_TOOLS or, in code that the process imports anyway, by `register`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Final

from agents_app.tools.base import Tool, ToolUnknown
from config.env import env

TOOLS: Final[dict[str, str]] = {
    "json_extract": "agents_app.tools.plain.json_extract",
    "now": "agents_app.tools.plain.now",
    "read_execution": "agents_app.tools.history.read_execution",
    "remember": "agents_app.tools.remembering.remember",
    "wait": "agents_app.tools.plain.wait",
}

_registered: Final[dict[str, Tool]] = {}


def register(tool: Tool) -> Tool:
    """Steps may name this tool from now on; raises ValueError if its name is taken."""
    if tool.name in paths() or _registered.get(tool.name, tool) is not tool:
        raise ValueError(f"There is a tool {tool.name!r} already; choose another name")
    _registered[tool.name] = tool
    return tool


def extra_tools(entries: list[str]) -> dict[str, str]:
    """The entries `name=dotted.path` as a table; raises ValueError for one of another form."""
    table = {}
    for entry in entries:
        name, _, path = (part.strip() for part in entry.partition("="))
        if not name or "." not in path:
            raise ValueError(f"EXTRA_TOOLS: {entry!r} is not of the form name=package.tool")
        table[name] = path
    return table


@cache
def paths() -> Mapping[str, str]:
    """Name to dotted path, of Cadenza's own tools and of the setting's."""
    return {**extra_tools(env.extra_tools), **TOOLS}


def names() -> list[str]:
    """Every tool that can be run here, in alphabetical order."""
    return sorted({*paths(), *_registered})


def find(name: str) -> Tool:
    """The tool of this name; raises ToolUnknown."""
    if name in _registered:
        return _registered[name]
    path = paths().get(name)
    if path is None:
        raise ToolUnknown(name, names())
    return _tool_at(name, path)


@cache
def _tool_at(name: str, path: str) -> Tool:
    found = pkgutil.resolve_name(path)
    if not isinstance(found, Tool) or found.name != name:
        raise TypeError(f"{path!r} is no tool named {name!r}; correct EXTRA_TOOLS")
    return found
