"""How many executions share a message: pure, from predicted durations to slices.

One message per execution costs a worker more than a short execution itself; many in one message
make the last of them wait. So a slice holds at most 50 ms of predicted work, only executions
that are known to be quick share one, and no slice is so large that a worker would be left idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from executions_app.outbox import Message

WORK_US: Final = 50_000
QUICK_MS: Final = 25.0  # what takes longer travels alone
LEAST_US: Final = 100  # claim and outcome of an execution that does nothing
MOST: Final = 500


def is_quick(message: Message) -> bool:
    """True if the execution may share a message."""
    return message.predicted_ms is not None and message.predicted_ms <= QUICK_MS


def cut(messages: Iterable[Message], *, idle: int, most: int = MOST) -> list[list[Message]]:
    """The messages of one queue, as those that travel together, in their order.

    `idle` is how many workers wait for a message: the quick ones are split at least that many
    ways, so that nobody waits in a slice while another worker could run it.
    """
    given = list(messages)
    quick = sum(map(is_quick, given))
    most = max(1, min(most, -(-quick // max(1, idle))))
    slices: list[list[Message]] = []
    current: list[Message] = []
    work_us = 0
    for one in given:
        if not is_quick(one):
            slices.append([one])
            continue
        its_us = _work_us(one)
        if not current or len(current) == most or work_us + its_us > WORK_US:
            current, work_us = [], 0
            slices.append(current)
        current.append(one)
        work_us += its_us
    return slices


def work_ms(slice_: Sequence[Message]) -> float | None:
    """The predicted work of one slice; None if it is not to share a worker's turn with others."""
    return sum(map(_work_us, slice_)) / 1000 if all(map(is_quick, slice_)) else None


def _work_us(message: Message) -> int:
    return max(LEAST_US, round((message.predicted_ms or 0.0) * 1000))


def needs_to_know_who_is_idle(by_queue: Iterable[Sequence[Message]]) -> bool:
    """True if any two of these messages might share one."""
    return any(sum(map(is_quick, some)) > 1 for some in by_queue)
