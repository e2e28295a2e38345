"""A system of which the test itself says what runs in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents_app.handlers import registry
from tests.journeys import scenario, services
from tests.journeys.handlers import Act
from tests.processes import System


@contextmanager
def bare_system(folder: Path, **environment: str) -> Iterator[System]:
    """A database and a Redis; beats and workers that are started there know the `act` handler."""
    registry.register("act")(Act)
    words = {"EXTRA_HANDLERS": scenario.EXTRA_HANDLERS, **environment}
    try:
        with services.system(folder, **words) as system:
            yield system
    finally:
        registry._registered.pop("act")
