"""A PostgreSQL that may be treated badly, and a caller who keeps asking the web meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar

import psycopg
import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from django.utils import timezone

from config import embedded
from config.connections import database
from config.embedded_daemon import wait_until
from executions_app import tokens
from tests.journeys import scenario, services

PROBE_SECONDS: Final = 0.1
UNSIGNED: Final = (400, 401, 415)  # what a delivery without a signature gets
ADDRESS: Final = ("HOST", "PORT", "USER", "PASSWORD")

Found = TypeVar("Found")


@dataclass
class Postgresql:
    """A server of this test's own."""

    owner: embedded.Owner

    @property
    def url(self) -> str:
        return self.owner.services.database_url

    def end(self) -> None:
        """As `pg_ctl stop -m immediate`: every backend is gone without a word."""
        daemon = self.owner.postgres
        assert daemon is not None
        os.kill(daemon.pid, signal.SIGQUIT)
        assert wait_until(lambda: not daemon.is_alive(), seconds=30)

    def start(self) -> None:
        """On the same data and address."""
        self.owner.ensure_alive()
        connection.close()

    def terminate_backends(self) -> int:
        """End every connection of the product; answers how many there were."""
        with psycopg.connect(self.url, autocommit=True) as administrator:
            ended = administrator.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name LIKE 'cadenza-%' AND application_name <> 'cadenza-command'"
            ).fetchone()
        assert ended is not None
        return int(ended[0])


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """The server; this process and the systems that it starts use it meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="cadenza-test-"))
    folder.chmod(0o755)
    try:
        with embedded.start(folder, redis_url="redis://127.0.0.1:1/0", durable=False) as owner:
            made = Postgresql(owner)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DATABASE_URL", made.url)
                connection.close()
                found = database(made.url, role="command", size=2)
                for name in ADDRESS:
                    patch.setitem(connection.settings_dict, name, found[name])
                services._make_template.cache_clear()
                try:
                    yield made
                finally:
                    connection.close()
                    services._make_template.cache_clear()
    finally:
        shutil.rmtree(folder)


def patiently(look: Callable[[], Found]) -> Callable[[], Found | None]:
    """The same look, which finds nothing while PostgreSQL is away."""

    def quietly() -> Found | None:
        try:
            return look()
        except (OperationalError, InterfaceError):
            connection.close()
            return None

    return quietly


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got; status 0 if nobody answered. `began` is of the monotonic clock."""

    path: str
    status: int
    began: float
    seconds: float
    retry_after: str = ""
    media_type: str = ""
    text: str = ""


@dataclass
class Caller:
    """Inside `with` it asks the web for everything, again and again, as a person and a program."""

    url: str
    posts: Sequence[str] = ()
    answers: list[Answer] = field(default_factory=list)

    PAGES: ClassVar[Sequence[str]] = ("/", "/admin/", "/admin/executions_app/execution/")
    READ: ClassVar[Sequence[str]] = (
        "/api/health",
        "/api/scheduler/schedules",
        "/api/scheduler/status",
    )

    def __enter__(self) -> Self:
        owner = User.objects.get(id=scenario.owner_id())
        User.objects.filter(id=owner.pk).update(is_staff=True)
        _, token = tokens.create(owner, name="outages", now=timezone.now())
        visitor = Client()
        visitor.force_login(owner)
        self._token = {"Authorization": f"Bearer {token}"}
        self._cookies = {settings.SESSION_COOKIE_NAME: visitor.cookies["sessionid"].value}
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=[method, path])
            for method, path in [
                *(("GET", each) for each in (*self.PAGES, *self.READ)),
                *(("POST", each) for each in self.posts),
            ]
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, method: str, path: str) -> None:
        is_api = path.startswith("/api/")
        words: dict[str, Any] = (
            {"headers": self._token}
            if is_api
            else {"cookies": self._cookies, "headers": {"Accept": "text/html"}}
        )
        if method == "POST":
            words["json"] = {}
        while not self._is_over.wait(PROBE_SECONDS):
            began = time.monotonic()
            try:
                got = requests.request(
                    method, f"{self.url}{path}", timeout=60, allow_redirects=False, **words
                )
            except requests.RequestException:
                self.answers.append(Answer(path, 0, began, time.monotonic() - began))
                continue
            retry, kind = (got.headers.get(each, "") for each in ("Retry-After", "Content-Type"))
            seconds = time.monotonic() - began
            self.answers.append(
                Answer(path, got.status_code, began, seconds, retry, kind, got.text[:300])
            )

    def wrong(self) -> list[str]:
        """Answers that nobody may get while a service is away."""
        return [f"{one}" for one in self.answers if not _is_as_it_should_be(one)]

    def slow(self, seconds: float) -> list[str]:
        """Answers that took longer."""
        return [f"{one.path}: {one.seconds:.1f} s" for one in self.answers if one.seconds > seconds]

    def served(self, *, since: float = 0.0) -> set[str]:
        """The paths that were answered at least once as ever, when asked after that moment."""
        asked = [one for one in self.answers if one.began >= since]
        return {one.path for one in asked if 200 <= one.status < 400}

    def refused(self, *, since: int = 0) -> set[str]:
        """The paths of which was said, after so many answers, that they are to be asked later."""
        return {one.path for one in self.answers[since:] if one.status == 503}


def _is_as_it_should_be(one: Answer) -> bool:
    if one.path.startswith("/api/webhooks/") and one.status in UNSIGNED:
        return True
    if one.status != 503:
        return 200 <= one.status < 400
    is_page = not one.path.startswith("/api/")
    kinds = "text/html" if is_page else "application/problem+json"
    if one.path == "/api/health":
        kinds = "application/json"
    return one.retry_after.isdigit() and one.media_type.startswith(kinds)
