"""What waits to be sent to one client: in order, bounded, progress thinned out per topic."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

CAPACITY: Final = 1_000
PROGRESS_SECONDS: Final = 0.25
PROGRESS: Final = frozenset({"execution:progress", "agent:progress"})


TRY_LATER: Final = 1013


class Ended(Exception):
    """Nothing more is to be sent: close the connection with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"The connection is to be closed with code {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Letter:
    """One message as text; `type` and `topic` decide whether a later one replaces it."""

    text: str
    type: str = ""
    topic: str = ""


class Mailbox:
    """Filled by the feed, emptied by the connection; both in one event loop."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._letters: deque[Letter] = deque()
        self._progress: dict[tuple[str, str], Letter] = {}
        self._progress_at = float("-inf")
        self._filled = asyncio.Event()
        self._end_code: int | None = None

    @property
    def waiting(self) -> int:
        """How many letters are kept."""
        return len(self._letters) + len(self._progress)

    def put(self, letter: Letter) -> None:
        """Add a letter; a client that reads too slowly is ended, to come back with its cursor.

        Whoever is ended may be long in going, if it reads nothing: nothing more is kept for it.
        """
        if self._end_code is not None:
            return
        if letter.type in PROGRESS:
            self._progress[letter.topic, letter.type] = letter
        else:
            for type_ in PROGRESS:
                self._progress.pop((letter.topic, type_), None)
            self._letters.append(letter)
        if self.waiting > self._capacity:
            self.end(TRY_LATER)
        self._filled.set()

    def end(self, code: int) -> None:
        """Have the connection closed with `code`, before anything that still waits; first wins."""
        if self._end_code is None:
            self._end_code = code
            self._letters.clear()
            self._progress.clear()
        self._filled.set()

    async def take(self) -> str:
        """The next text to send, waiting for it; raises Ended."""
        while True:
            if self._end_code is not None:
                raise Ended(self._end_code)
            if not self._letters:
                self._release_progress()
            if self._letters:
                return self._letters.popleft().text
            self._filled.clear()
            await self._wait()

    def _release_progress(self) -> None:
        if self._progress and self._seconds_to_wait() <= 0:
            self._progress_at = time.monotonic()
            self._letters.extend(self._progress.values())
            self._progress.clear()

    def _seconds_to_wait(self) -> float:
        return self._progress_at + PROGRESS_SECONDS - time.monotonic()

    async def _wait(self) -> None:
        seconds = self._seconds_to_wait() if self._progress else None
        try:
            async with asyncio.timeout(seconds):
                await self._filled.wait()
        except TimeoutError:
            return
