"""A real web process of a System."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from django.conf import settings

from config import embedded_instance
from tests.processes import System


@contextmanager
def serving(system: System, *, name: str = "web") -> Iterator[str]:
    """Its address, once it answers; it is stopped afterwards."""
    port = embedded_instance.next_free(0)
    argv = [sys.executable, "-m", "config.web", "--port", str(port)]
    argv += ["--timeout-graceful-shutdown", "10", "--ws-max-size", "65536"]
    keys = ",".join(settings.FIELD_ENCRYPTION_KEYS)
    process = system._process(name, argv, CADENZA_ROLE="web", FIELD_ENCRYPTION_KEYS=keys)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/api/health/live", timeout=30).ok
        except requests.RequestException:
            return False

    try:
        system.until(answers, what="the web answers", seconds=120)
        yield url
    finally:
        process.stop()
        system.forget(name)
