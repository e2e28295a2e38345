"""The handler of the other journeys under more names: what is known of each is its own."""

from __future__ import annotations

from typing import Final

from tests.journeys.handlers import Act
from tests.journeys.scenario import EXTRA_HANDLERS as USUAL


class Slow(Act):
    """For runs that take their time, so that nobody expects `act` to."""


EXTRA_HANDLERS: Final = f"{USUAL},slow={Slow.__module__}.{Slow.__qualname__}"
