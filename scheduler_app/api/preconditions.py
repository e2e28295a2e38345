"""`ETag` and `If-Match` (RFC 9110): nobody overwrites a schedule that they have not seen."""

from __future__ import annotations

from rest_framework.request import Request

from executions_app.api.problem import Problem
from scheduler_app.models import Schedule


def etag(schedule: Schedule) -> str:
    """The schedule's version as an entity tag."""
    return f'"{schedule.version}"'


def check(request: Request, schedule: Schedule) -> None:
    """Raise a 412 problem if `If-Match` is given and names another version.

    The comparison is weak, since proxies that compress make tags weak.
    """
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    if etag(schedule) not in tags:
        detail = (
            f"Schedule {schedule.name!r} is at version {schedule.version}; "
            "read it again and repeat the change"
        )
        raise Problem(412, "version_changed", detail)
