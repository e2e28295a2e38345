"""Another try with other input: what a person changed of an execution that failed, kept with who.

The execution's limit and unique keys stay what its first parameters made them: they are what it
was admitted under.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from executions_app import audit, lifecycle, strict_json
from executions_app.audit import Actor
from executions_app.states import SchedulerException

MOST_BYTES: Final = 64 * 1024
MOST_DEPTH: Final = 64


class UnusableParameters(SchedulerException):
    """No execution can be given these parameters."""


def read(text: str) -> dict[str, Any]:
    """The parameters that a JSON text says; raises UnusableParameters."""
    try:
        value = strict_json.load(text, most_depth=MOST_DEPTH)
    except ValueError as error:
        raise UnusableParameters(f"The parameters are no JSON that can be kept: {error}") from None
    if not isinstance(value, dict):
        raise UnusableParameters('The parameters are no JSON object; give one such as {"name": 1}')
    return check(value)


def check(parameters: dict[str, Any]) -> dict[str, Any]:
    """The same parameters; raises UnusableParameters if they are too many."""
    if len(json.dumps(parameters, ensure_ascii=False).encode()) > MOST_BYTES:
        raise UnusableParameters(f"The parameters are longer than {MOST_BYTES} bytes")
    return parameters


def put(
    execution_id: UUID, parameters: Mapping[str, Any] | None, *, actor: Actor, now: datetime
) -> None:
    """In the transaction that has made the execution pending: its new parameters, if any."""
    if parameters is None:
        return
    checked = check(dict(parameters))
    former = lifecycle.edit_parameters(execution_id, checked)
    audit.record(
        actor,
        "execution.edited",
        object_type="execution",
        object_id=execution_id,
        now=now,
        before={"parameters": former},
        after={"parameters": checked},
    )
