"""The two spellings of field names at the door of the ledger: camelCase is read as snake_case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django.http import QueryDict

OBJECTS_WITH_OUR_NAMES: Final = frozenset(
    {"schedule_config", "task_config", "retry_policy", "retry"}
)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class NamedTwice(ValueError):
    """A name was given in both spellings."""


def snake(name: str) -> str:
    """`taskConfig` as `task_config`; a name in snake_case as it is."""
    return _HUMP.sub("_", name).lower() if _HUMP.search(name) else name


def snake_keys(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request body with our names: at its top and one level inside the objects we define.

    Whatever lies deeper (headers, environments, parameters) is the caller's own and stays as it
    is. Raises NamedTwice.
    """
    renamed = _renamed(body)
    for name in OBJECTS_WITH_OUR_NAMES & renamed.keys():
        if isinstance(renamed[name], dict):
            renamed[name] = _renamed(renamed[name])
    return renamed


def snake_query(query: QueryDict) -> QueryDict:
    """Query parameters with our names."""
    renamed = QueryDict(mutable=True)
    for name, values in query.lists():
        renamed.setlistdefault(snake(name)).extend(values)
    return renamed


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, value in given.items():
        ours = snake(name)
        if ours in renamed:
            raise NamedTwice(f"{ours!r} is given twice; keep one of its spellings")
        renamed[ours] = value
    return renamed
