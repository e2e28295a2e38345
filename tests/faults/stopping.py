"""A beat that is told to stop at the worst moment: its round is committed, and nothing is sent.

Run by `celery beat -S tests.faults.stopping.StoppingScheduler`; nothing of the product is changed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

from executions_app.outbox import Message
from scheduler_app import queues
from scheduler_app.beat import CadenzaScheduler

_publish = queues.publish


def _publish_when_told_to_stop(messages: Iterable[Message], **words: Any) -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    return _publish(messages, **words)


class StoppingScheduler(CadenzaScheduler):
    """The product's, asked to end between its commit and its messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        queues.publish = _publish_when_told_to_stop
        super().__init__(*args, **kwargs)
