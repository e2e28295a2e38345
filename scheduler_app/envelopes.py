"""The text of a message: Celery's protocol 2, as kombu's Redis transport lays it out.

Everything but the ids is the same in every message, so it is written once; a batch of hundreds is
then a few text substitutions each.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from agents_app.backlog import RUN

EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
ORIGIN: Final = f"{os.getpid()}@{socket.gethostname()}"
TAG_BYTES: Final = 16
_BODY: Final = f'[[], {{"execution_ids": [%s]}}, {json.dumps(EMBED)}]'
_ENVELOPE: Final = (
    json.dumps(
        {
            "body": "{body}",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": RUN,
                "id": "{task_id}",
                "root_id": "{task_id}",
                "parent_id": None,
                "group": None,
                "eta": None,
                "expires": None,
                "retries": 0,
                "timelimit": [None, None],
                "argsrepr": "()",
                "kwargsrepr": "{kwargs}",
                "origin": ORIGIN,
                "ignore_result": True,
                "predicted_ms": "{predicted}",
            },
            "properties": {
                "correlation_id": "{task_id}",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "{queue}"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": "{tag}",
            },
        }
    )
    .replace("%", "%%")
    .replace("{body}", "%(body)s")
    .replace("{task_id}", "%(task_id)s")
    .replace("{kwargs}", "{'execution_ids': ['%(ids)s']}")
    .replace("{queue}", "%(queue)s")
    .replace("{tag}", "%(tag)s")
    .replace('"{predicted}"', "%(predicted)s")
)
_HEX: Final = 2 * TAG_BYTES


def build(
    slices: Sequence[Sequence[UUID]], *, queue: str, predicted_ms: Sequence[float | None] = ()
) -> list[bytes]:
    """One message per slice of execution ids, for the workers of `queue`.

    `predicted_ms` says for each how much work it is; None, and without it all, means that nobody
    knows and a worker must not take it together with others.
    """
    predictions = predicted_ms or [None] * len(slices)
    random = os.urandom(2 * TAG_BYTES * len(slices)).hex()
    envelopes = []
    for number, (execution_ids, work) in enumerate(zip(slices, predictions, strict=True)):
        ids = [str(one) for one in execution_ids]
        quoted = '"' + '", "'.join(ids) + '"'
        place = 2 * _HEX * number
        text = _ENVELOPE % {
            "body": base64.b64encode((_BODY % quoted).encode()).decode(),
            "task_id": random[place : place + _HEX],
            "ids": "', '".join(ids),
            "queue": queue,
            "predicted": "null" if work is None else f"{work:.3f}",
            "tag": random[place + _HEX : place + 2 * _HEX],
        }
        envelopes.append(text.encode())
    return envelopes
