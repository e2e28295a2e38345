"""What was refused to this process, counted since it began, its children included.

Every such refusal is right: an execution that was named to it once too often is somebody else's, or
over, and so is one that it wants to write to without its lease. How often that happens says how
much is delivered twice, and how often somebody came back from the dead.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import Final

SLOTS: Final = 4096
SIZE: Final = 8  # bytes of a count


class Tally:
    """A number that only rises; made before a process forks, it is one for all of its children.

    Each child counts in a slot of shared memory, so that one that is killed leaves no lock behind.
    Of two that ever share a slot a count may be lost.
    """

    def __init__(self) -> None:
        self._slots = memoryview(mmap.mmap(-1, SLOTS * SIZE)).cast("Q")
        self._guard = threading.Lock()
        os.register_at_fork(after_in_child=self._begin_anew)

    def add(self, number: int = 1) -> None:
        """So many more; nothing happens for 0."""
        if number <= 0:
            return
        with self._guard:
            self._slots[os.getpid() % SLOTS] += number

    @property
    def value(self) -> int:
        return sum(self._slots)

    def _begin_anew(self) -> None:
        self._guard = threading.Lock()  # another thread of the parent may have held it


claims: Final = Tally()
"""Executions that a message named and that were not to be had (any more)."""
writes: Final = Tally()
"""How often a run heard, or a write found, that its lease was gone: nothing was written."""
