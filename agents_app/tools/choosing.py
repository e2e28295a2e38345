"""Which tools suit a task: those that it requires, then those whose words it uses. No model asked.

The same task gets the same tools in the same order, whoever asks and wherever.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from agents_app.tools import registry
from agents_app.tools.base import Tool

MOST: Final = 20
_WORD: Final = re.compile(r"[^\W_]+")


def suited(
    task_text: str,
    required: Iterable[str] = (),
    *,
    capabilities: Collection[str] = (),
    allowed: Collection[str] | None = None,
) -> list[str]:
    """Names of tools for a task, the most suited first, at most MOST of them.

    `required`: names that come first, as far as there are such tools; `capabilities`: of the agent,
    which bring in the tools that are meant for one of them; `allowed`: nothing but these.
    """
    known = [name for name in registry.names() if allowed is None or name in allowed]
    first = [name for name in dict.fromkeys(required) if name in known]
    words = frozenset(_WORD.findall(task_text.casefold()))
    ranked = sorted(
        (-_score(registry.find(name), words, frozenset(capabilities)), name)
        for name in known
        if name not in first
    )
    return [*first, *(name for score, name in ranked if score)][:MOST]


def _score(tool: Tool, words: frozenset[str], capabilities: frozenset[str]) -> int:
    """How many of the tool's words the task uses; a tool that is named outright counts more."""
    own = {word.casefold() for word in tool.keywords}
    named = frozenset(_WORD.findall(tool.name.casefold())) <= words
    return len(own & words) + len(tool.capabilities & capabilities) + (3 if named else 0)
