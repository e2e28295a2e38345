"""`ETag` and `If-Match` (RFC 9110): nobody overwrites what they have not seen."""

from __future__ import annotations

from rest_framework.request import Request

from executions_app.api.problem import Problem
from scheduler_app.models import BusinessCalendar, Schedule


def etag(row: Schedule | BusinessCalendar) -> str:
    """The row's version as an entity tag."""
    return f'"{row.version}"'


def check(request: Request, row: Schedule | BusinessCalendar) -> None:
    """Raise a 412 problem if `If-Match` is given and names another version.

    The comparison is weak, since proxies that compress make tags weak.
    """
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    if etag(row) not in tags:
        kind = "Schedule" if isinstance(row, Schedule) else "Calendar"
        detail = (
            f"{kind} {row.name!r} is at version {row.version}; read it again and repeat the change"
        )
        raise Problem(412, "version_changed", detail)
