"""The two servers around an AI cycle, as fixtures: a conftest that has such tests names them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.endpoint_server import Endpoints, endpoint_server
from tests.fakes.model_server import ModelServer, model_server


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Endpoints]:
    """What cycles call, with a ledger of its own."""
    with endpoint_server() as server:
        yield server


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """What cycles are planned by; it says what it is told to."""
    with model_server() as server:
        yield server
