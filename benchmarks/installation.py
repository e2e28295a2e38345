"""The measured installation: services of its own on fresh data, and what the harness asks of them.

The embedded PostgreSQL with everything that makes it durable, the embedded Redis, the product's
tables. Processes come from `programs`, the product's own code runs in `inside`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from psycopg import sql

from benchmarks import handlers
from benchmarks.programs import Programs
from config import embedded
from config.connections import redis_database
from config.env import CHECKOUT, Env

QUEUES: Final = ("critical", "high", "normal", "low")
HISTORY: Final = (
    "task_executions", "execution_steps", "cycles", "model_calls", "token_reservations",
    "fire_records", "events", "outcome_inbox", "error_records",
)  # fmt: skip
DURABILITY: Final = ("fsync", "full_page_writes", "synchronous_commit")
INSIDE_SECONDS: Final = 600.0


class MeasurementImpossible(Exception):
    """Nothing could be measured; the message says why and what to do."""


@dataclass
class Installation:
    """One running installation; `database` and `broker` are the harness' own connections."""

    folder: Path
    services: embedded.Services
    environment: dict[str, str]
    programs: Programs
    database: psycopg.Connection[Any]
    broker: redis.Redis
    filled: tuple[Any, ...] = ()

    def ask(self, statement: LiteralString, parameters: Sequence[Any] = ()) -> Any:
        """The first row, or its one column; None if there is none."""
        row = self.database.execute(statement, parameters).fetchone()
        return row[0] if row is not None and len(row) == 1 else row

    def inside(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Run one of `benchmarks.verbs` in this installation; raises MeasurementImpossible."""
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.inside", verb, json.dumps(arguments)],
            env={**self.environment, "CADENZA_ROLE": "command"},
            cwd=CHECKOUT,
            check=False,
            capture_output=True,
            text=True,
            timeout=INSIDE_SECONDS,
        )
        if done.returncode != 0:
            raise MeasurementImpossible(f"{verb!r} failed:\n{done.stderr[-2_000:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def fill(self, count: int, *, calls: str = "") -> None:
        """Let `count` schedules exist, none of them due; cheap if they do already.

        Their executions note the time of their start, or call a URL.
        """
        wanted = (count, calls)
        if self.filled != wanted:
            task_type = "http_request" if calls else handlers.TASK_TYPE
            task_config = {"url": calls} if calls else {"is_clocked": True}
            self.inside("fill", count=count, task_type=task_type, task_config=task_config)
            self.filled = wanted

    def make_due(self, count: int, *, of: int, after_seconds: float) -> float:
        """Let `count` schedules, spread among the `of`, come due at one instant; answers it."""
        due_at: float = self.ask(
            "SELECT extract(epoch FROM date_trunc('milliseconds', now()))::float8 + %s",
            [after_seconds],
        )
        self.database.execute(
            """
            UPDATE task_schedules SET next_run_at = to_timestamp(%(at)s),
                anchor_at = to_timestamp(%(at)s)
                    - (schedule_config->>'interval_ms')::bigint * interval '1 millisecond'
            WHERE substr(name, 11)::int %% %(step)s = 0
            """,
            {"at": due_at, "step": of // count},
        )
        return due_at

    def forget(self) -> None:
        """No executions, fires, events or messages; schedules stay. Processes may run on."""
        tables = sql.SQL(", ").join(map(sql.Identifier, HISTORY))
        self.database.execute(sql.SQL("TRUNCATE {}").format(tables))
        self.broker.delete(*QUEUES)
        for file in self.clocks.iterdir():
            os.truncate(file, 0)

    def settle(self) -> None:
        """What earlier work left to PostgreSQL is done now, not while something is measured."""
        self.database.execute("VACUUM (ANALYZE)")
        self.database.execute("CHECKPOINT")

    @property
    def clocks(self) -> Path:
        return Path(self.environment[handlers.CLOCKS])

    def starts(self) -> dict[str, float]:
        """The first start of each clocked execution, by its id."""
        lines = [
            line.split() for file in self.clocks.iterdir() for line in file.read_text().splitlines()
        ]
        found: dict[str, float] = {}
        for at, execution_id in sorted(lines):
            found.setdefault(execution_id, float(at))
        return found

    def wait_completed(self, count: int, *, seconds: float) -> None:
        """Until `count` executions are completed; raises MeasurementImpossible."""
        ends = time.monotonic() + seconds
        while (done := self._completed()) < count:
            if time.monotonic() > ends:
                raise MeasurementImpossible(
                    f"{done} of {count} executions were completed after {seconds:g} s"
                )
            time.sleep(0.1)

    def wait_started(self, wanted: Collection[str], *, seconds: float) -> None:
        """Until each of these clocked executions has started, or the time is over."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not self.starts().keys() >= set(wanted):
            time.sleep(0.1)

    def wait_settled(self, *, seconds: float) -> None:
        """Until a beat has drawn what follows from outcomes; raises MeasurementImpossible."""
        ends = time.monotonic() + seconds
        while self.ask("SELECT EXISTS (SELECT FROM outcome_inbox)"):
            if time.monotonic() > ends:
                raise MeasurementImpossible(f"Outcomes were not drawn within {seconds:g} s")
            time.sleep(0.1)

    def _completed(self) -> int:
        found: int = self.ask("SELECT count(*) FROM task_executions WHERE status = 'completed'")
        return found

    def drained_at(self) -> tuple[float, float]:
        """The first claim and the last outcome, in seconds since the epoch."""
        first, last = self.ask(
            "SELECT extract(epoch FROM min(started_at))::float8,"
            " extract(epoch FROM max(completed_at))::float8 FROM task_executions"
        )
        return first, last

    def durability(self) -> dict[str, str]:
        """The settings of PostgreSQL that decide whether a commit is durable."""
        return {
            name: self.ask("SELECT current_setting(%s)", [name])
            for name in (*DURABILITY, "server_version")
        }


@contextmanager
def running() -> Iterator[Installation]:
    """A fresh installation, gone when this ends; raises embedded.ServiceError."""
    with _folder() as folder, embedded.start(folder, durable=True) as owner:
        environment = _environment(owner.services, folder)
        _migrate(environment)
        programs = Programs(environment, folder / "logs")
        with (
            psycopg.connect(owner.services.database_url, autocommit=True) as database,
            redis.Redis.from_url(redis_database(owner.services.redis_url, 0)) as broker,
        ):
            made = Installation(folder, owner.services, environment, programs, database, broker)
            made.inside("prepare")
            try:
                yield made
            finally:
                programs.stop()


def sibling(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="cadenza-benchmark-"))
    if os.geteuid() == 0:
        made.chmod(0o755)  # PostgreSQL, which then runs as another user, must be able to enter
    folder = embedded.resolve_data_dir(str(made), CHECKOUT)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(made, ignore_errors=True)


def _environment(services: embedded.Services, folder: Path) -> dict[str, str]:
    """This process' environment without a single setting of this installation."""
    clocks = folder / "clocks"
    clocks.mkdir()
    inherited = {
        name: value for name, value in os.environ.items() if name.lower() not in Env.model_fields
    }
    programs = str(Path(sys.executable).parent)
    return {
        **inherited,
        "PATH": f"{programs}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "CADENZA_DATA_DIR": str(folder),
        "DATABASE_URL": services.database_url,
        "REDIS_URL": services.redis_url,
        "EXTRA_HANDLERS": handlers.SETTING,
        "OUTBOUND_ALLOW": "127.0.0.1",
        handlers.CLOCKS: str(clocks),
    }


def _migrate(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), "migrate", "--no-input", "--verbosity=0"],
        env=environment,
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise MeasurementImpossible(f"The tables could not be made:\n{done.stderr[-2_000:]}")
