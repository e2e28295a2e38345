"""Gives every test session its own PostgreSQL and Redis, before Django's settings are read.

The session owns the folder CADENZA_TEST_DATA_DIR (default `.cadenza/tests`); when another session
owns it, the next of its siblings (`tests-2`, `tests-3`, ...). Under xdist each worker is a session
of its own, so that tests which empty a Redis or count messages do not meet.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from typing_extensions import override
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from config import embedded

CHECKOUT = Path(__file__).resolve().parent.parent
# Tests that share what is dear to make: a large database, a system of living processes.
SHARED = ("tests/scale/", "tests/journeys/when/")
KEYS_OF_MODELS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")  # no test asks a model that costs money
SHARED_BY_A_MODULE = ("tests/browser/", "tests/faults/", "tests/journeys/")
REPETITION = re.compile(r"[\[-](seed \d+)[\]-]")  # of the fault suite; they run in a row

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("cadenza", deadline=None)
hypothesis.settings.load_profile("cadenza")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Runs before pytest-django's hook of the same name, which imports the settings."""
    owner = own_a_folder(os.environ.get("CADENZA_TEST_DATA_DIR", ".cadenza/tests"))
    early_config.add_cleanup(owner.stop)
    os.environ["DATABASE_URL"] = owner.services.database_url
    os.environ["REDIS_URL"] = owner.services.redis_url
    os.environ["CADENZA_DATA_DIR"] = owner.services.data_dir
    os.environ.setdefault("DJANGO_ENV", "test")
    for key in KEYS_OF_MODELS:
        os.environ.pop(key, None)
    return (yield)


def own_a_folder(configured: str) -> embedded.Owner:
    for number in itertools.count(1):
        name = configured if number == 1 else f"{configured}-{number}"
        data_dir = embedded.resolve_data_dir(name, CHECKOUT)
        try:
            return embedded.start(data_dir, durable=False)
        except embedded.AlreadyRunning:
            continue
    raise AssertionError


def shares_with(nodeid: str) -> str:
    """What all tests that one worker runs together have in common; each repetition is its own."""
    for folder in SHARED:
        if nodeid.startswith(folder):
            return folder
    if not nodeid.startswith(SHARED_BY_A_MODULE):
        return nodeid
    module, _, test = nodeid.partition("::")
    repetition = REPETITION.search(test)
    return f"{module}, {repetition[1]}" if repetition else module


class _Together(LoadScopeScheduling):  # type: ignore[misc]  # the library has no types
    """Gives each free worker the next test; those that share what is dear to make go together."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return shares_with(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """How tests are shared out when several workers run them."""
    return _Together(config, log)
