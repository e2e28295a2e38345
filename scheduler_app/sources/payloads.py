"""What a webhook brings, read with suspicion: the JSON object that its execution will be given.

The body is signed, so its sender is known; but a sender may be as broken as anybody, and passes on
what strangers have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from executions_app import scrub, strict_json
from executions_app.states import SchedulerException

MOST_BYTES: Final = 256 * 1024
MOST_DEPTH: Final = 32  # the object itself is the first
ROOM: Final = 2 * MOST_BYTES  # what was read is kept whole, however it is written down


class UnusablePayload(SchedulerException):
    """The body is no JSON object that can be kept."""


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259) of a body; raises UnusablePayload.

    A name that comes twice is refused, since the one who signed may have meant the other value.
    """
    try:
        value = strict_json.load(body.decode("utf-8"), most_depth=MOST_DEPTH - 1, objects=_object)
    except ValueError as error:
        raise UnusablePayload(f"The body is no JSON that can be kept: {error}") from None
    if not isinstance(value, dict):
        raise UnusablePayload("The body is not a JSON object; send one such as {}")
    return value


def kept(event: Mapping[str, Any]) -> Any:
    """The event as an execution's parameters keep it: without what looks like a secret."""
    return scrub.storable_without_secrets(event, max_bytes=ROOM)[0]


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same name twice")
    return made
