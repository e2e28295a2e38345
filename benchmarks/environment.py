"""Beside the product: the throw-away environment of the peers, and their scripts run in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import psycopg
import redis
from psycopg import sql

from benchmarks.installation import Installation, MeasurementImpossible, sibling
from config.connections import redis_database
from config.env import CHECKOUT

PACKAGE: Final = "benchmarks.peers"
REQUIREMENTS: Final = Path(__file__).with_name("peers") / "requirements.txt"
NAMED: Final = (
    *("celery", "celery-redbeat", "django-celery-beat", "django-celery-results"),
    *("pgqueuer", "procrastinate", "asyncpg", "psycopg", "py-spy"),
)
REDIS_DATABASE: Final = 9
SCRIPT_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class Runs:
    """What a peer's script found, run after run, and the settings it ran with."""

    runs: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]


@dataclass
class Peers:
    """The peers beside one installation; the same question is put to each only once."""

    python: Path
    installation: Installation
    tell: Callable[[str], None]
    _answers: dict[tuple[Any, ...], Runs] = field(default_factory=dict)

    @property
    def sampler(self) -> Path | None:
        """The program that looks into running processes, where there is one for this machine."""
        program = self.python.with_name("py-spy")
        return program if program.exists() else None

    def ask(self, script: str, what: str, *, django: str = "", **options: int) -> Runs:
        """Run `<script>_peer.py`; `django` names a result backend that needs Django.

        Raises MeasurementImpossible with what the script said.
        """
        key = (script, what, django, *sorted(options.items()))
        if key not in self._answers:
            self.tell(f"  beside it: {script} {what} {options}")
            self._answers[key] = self._run(script, what, django=django, options=options)
        return self._answers[key]

    def _run(self, script: str, what: str, *, django: str, options: Mapping[str, int]) -> Runs:
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [str(self.python), "-m", f"{PACKAGE}.{script}_peer", what, *arguments],
                env=self._environment(self._database(f"peer_{script}"), folder, django),
                cwd=CHECKOUT,
                check=False,
                capture_output=True,
                text=True,
                timeout=SCRIPT_SECONDS,
            )
        if done.returncode != 0:
            raise MeasurementImpossible(f"{script} {what} failed:\n{done.stderr[-2_000:]}")
        return Runs(**json.loads(done.stdout.splitlines()[-1]))

    def _database(self, name: str) -> str:
        """A database of its own, empty, on the same server; and an empty Redis."""
        url = sibling(self.installation.services.database_url, name)
        identifier = sql.Identifier(name)
        with psycopg.connect(sibling(url, "postgres"), autocommit=True) as administrator:
            for statement in ("DROP DATABASE IF EXISTS {} WITH (FORCE)", "CREATE DATABASE {}"):
                administrator.execute(sql.SQL(statement).format(identifier))
        with redis.Redis.from_url(self._redis_url) as client:
            client.flushdb()
        return url

    @property
    def _redis_url(self) -> str:
        return redis_database(self.installation.services.redis_url, REDIS_DATABASE)

    def _environment(self, database_url: str, folder: str, django: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        for name in ("DJANGO_SETTINGS_MODULE", "VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL"):
            kept.pop(name, None)
        if django:
            kept["DJANGO_SETTINGS_MODULE"] = f"{PACKAGE}.celery_django"
        if django.startswith("django-db"):
            kept["PEER_RESULT_BACKEND"] = django
        return {
            **kept,
            "PEER_DATABASE_URL": database_url,
            "PEER_REDIS_URL": self._redis_url,
            "PEER_FOLDER": folder,
        }


def install(folder: Path) -> Path:
    """The Python of the peers' environment, installed when no one has these versions yet.

    Raises MeasurementImpossible when the package index cannot be reached.
    """
    versions = f"{sys.version_info[:2]}{REQUIREMENTS.read_text()}"
    digest = hashlib.sha256(versions.encode()).hexdigest()[:12]
    made = folder / f"peers-{digest}"
    python = made / "bin" / "python"
    if (made / "complete").exists():
        return python
    shutil.rmtree(made, ignore_errors=True)
    made.parent.mkdir(parents=True, exist_ok=True)
    for command in _commands(made, python):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise MeasurementImpossible(
                f"The peers cannot be installed (measure --without-peers):\n{done.stderr[-2_000:]}"
            )
    (made / "complete").touch()
    return python


def _commands(made: Path, python: Path) -> list[list[str]]:
    uv = CHECKOUT / ".venv" / "bin" / "uv"
    create = [sys.executable, "-m", "venv"]
    if uv.exists():
        install = [str(uv), "pip", "install", "--system-certs", "--quiet", "--python", str(python)]
        create = [*create, "--without-pip"]
    else:
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return [[*create, str(made)], [*install, "-r", str(REQUIREMENTS)]]


def versions(python: Path) -> dict[str, str]:
    """The versions of the peers that this environment holds."""
    packages = next((python.parent.parent / "lib").glob("python*")) / "site-packages"
    found = {one.name.lower(): one.version for one in distributions(path=[str(packages)])}
    return {name: found[name] for name in NAMED if name in found}
