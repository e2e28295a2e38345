"""What may stand in the query of a request: a name that nobody knows is refused, not ignored.

A filter that is spelled wrong would otherwise answer everything, and a bulk act take it for chosen.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from rest_framework.request import Request
from rest_framework.settings import api_settings

from executions_app.api import names
from executions_app.api.problem import FieldError, invalid, pointer

PAGE_NAMES: Final = ("cursor", "page_size", "ordering", "count")
FORMAT: Final = api_settings.URL_FORMAT_OVERRIDE


def check(request: Request, known: Collection[str]) -> None:
    """Refuse names beside the known ones, in either spelling; they are named in the answer."""
    unknown = names.snake_query(request.query_params).keys() - {*known, FORMAT}
    if unknown:
        listed = ", ".join(sorted(known)) if known else "none"
        detail = f"there is no such parameter here; known are: {listed}"
        raise invalid([FieldError(pointer(one), "unknown", detail) for one in sorted(unknown)])
