"""A model that goes away, each time in another way, and comes back where it was."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from agents_app.models import Tier
from tests.fakes.model_answers import plan_for, plans_by_itself
from tests.fakes.model_script import (
    Asked,
    Point,
    Reply,
    cut_off,
    empty,
    fails,
    hangs,
    resets,
    says,
    says_json,
)
from tests.fakes.model_server import ModelServer

CALLED: Final = ["alpha", "beta"]
LOWER: Final = {Tier.LAST_GOOD.value, Tier.DETERMINISTIC.value}
# Nobody waits long for a model that does not answer, nor for its return.
QUICKLY: Final = {
    "LLM_FIRST_TOKEN_SECONDS": "0.5",
    "LLM_TIMEOUT_SECONDS": "1",
    "LLM_PAUSE_SECONDS": "0.5",
    "LLM_PAUSE_MAX_SECONDS": "2",
    "MAX_PLAN_STEPS": "10",
}


class Way(StrEnum):
    """How a model can be away."""

    REFUSED = "refuses connections"
    OVERLOADED = "answers 503"
    SILENT = "says nothing more"
    GARBAGE = "talks garbage"


# None of these can be repaired or salvaged into a plan: the model gives the like of it again.
GARBAGE: Final = (
    empty(),
    says("I would rather not plan anything today."),
    says("<html><body><h1>It works!</h1></body></html>"),
    says_json({"tasks": CALLED}),
    says_json(plan_for(["unregistered"])),
    cut_off(plan_for(CALLED)),
    Reply(raw=b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n"),
)
POINTS: Final[tuple[Point, ...]] = ("headers", "token", "stream")


class Absent:
    """A model behind one address. It plans whatever it is asked, while it is there."""

    def __init__(self, *, chance: random.Random) -> None:
        self._chance = chance
        self._server = ModelServer(answer=plans_by_itself).start()
        self._is_listening = True

    @property
    def url(self) -> str:
        return self._server.url

    def goes(self, way: Way) -> None:
        """From now on it is away in this way; whatever it was asked before has its answer."""
        if way is Way.REFUSED:
            self._server.on(None, resets())  # to connections that are kept open
            self._server.stop()
            self._is_listening = False
            return
        self._listen(lambda _: self._answer(way))

    def returns(self) -> None:
        """It plans again."""
        self._listen(plans_by_itself)

    def close(self) -> None:
        if self._is_listening:
            self._server.stop()

    def _listen(self, answer: Callable[[Asked], Reply]) -> None:
        """Also where it refused so far: not a question is answered otherwise in between."""
        if self._is_listening:
            self._server.on(None, answer)
            return
        port = urlsplit(self.url).port
        assert port is not None
        self._server = ModelServer(port=port, answer=answer).start()
        self._is_listening = True

    def _answer(self, way: Way) -> Reply:
        if way is Way.OVERLOADED:
            return fails(503, "overloaded")
        if way is Way.SILENT:
            return hangs(self._chance.choice(POINTS))
        return self._chance.choice(GARBAGE)


@contextmanager
def absent(*, seed: int) -> Iterator[Absent]:
    """A model for the block; it is there at first."""
    model = Absent(chance=random.Random(seed))
    try:
        yield model
    finally:
        model.close()
