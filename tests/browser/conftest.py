"""A real Chromium before a real web process on the test database."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from config import embedded_instance
from config.env import env

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
WITHIN_MS = 60_000  # for whatever takes a moment, also on a machine that is very busy
MISSING = "No Chromium: set CHROMIUM_PATH, or install one (Debian: apt-get install chromium)"
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@dataclass
class Web:
    """The web process; may be stopped and started again on the same port."""

    port: int
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = [sys.executable, "-m", "uvicorn", "config.asgi:application"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*argv, "--port", str(self.port), "--timeout-graceful-shutdown", "1"],
                cwd=CHECKOUT,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        ends = time.monotonic() + START_SECONDS
        while not self._answers():
            is_late = time.monotonic() > ends or self.process.poll() is not None
            assert not is_late, f"the web process did not start:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)
            self.process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/admin/login/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serves the test database; what a test leaves in it is gone before the next one."""
    database_url = urlunsplit(
        urlsplit(os.environ["DATABASE_URL"])._replace(
            path=f"/{quote(connection.settings_dict['NAME'])}"
        )
    )
    environment = {**os.environ, "DATABASE_URL": database_url, "CADENZA_ROLE": "web"}
    log = tmp_path_factory.mktemp("web") / "web.log"
    made = Web(embedded_instance.next_free(0), environment, log)
    yield made
    made.stop()


@pytest.fixture
def web(transactional_db: None, server: Web) -> Web:
    """It sees what the test commits."""
    if server.process is None:
        server.start()
    return server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser; without one the tests are skipped, or fail when one is required."""
    found = env.chromium_path or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        if env.require_browser:
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    # Playwright keeps an event loop in this thread; the tests use the database beside it.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        expect.set_options(timeout=WITHIN_MS)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def visit(web: Web, chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """A browser signed in as a user; keywords are those of a Playwright context."""
    with contextlib.ExitStack() as contexts:

        def open_for(user: User, **options: Any) -> BrowserContext:
            signed_in = Client()
            signed_in.force_login(user)
            cookie = signed_in.cookies[settings.SESSION_COOKIE_NAME].value
            context = chromium.new_context(base_url=web.url, **options)
            context.set_default_timeout(WITHIN_MS)
            contexts.callback(context.close)
            context.add_cookies(
                [{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": web.url}]
            )
            return context

        yield open_for
