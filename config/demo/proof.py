"""Around many executions: the whole system on fresh data, run until there is enough to judge.

Starts `manage.py up --demo` as a child, watches the tables until every demo schedule has ended
often enough, lets `judge` compare them with the ledger and the oracle, and stops what it started.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import psycopg
from dotenv import dotenv_values

from config import embedded
from config.demo import evidence, judge, ledger, report, schedules
from config.demo.report import Report
from config.demo.schedules import DemoSchedule
from config.env import CHECKOUT, Env

SYSTEM: Final = (sys.executable, str(CHECKOUT / "manage.py"), "up", "--demo", "--json")
READY_SECONDS: Final = 180.0
ENOUGH_SECONDS: Final = 240.0
STOP_SECONDS: Final = 90.0
LOOK_SECONDS: Final = 0.5
MOST_SHOWN: Final = 3_000
VERDICT: Final = "proof.json"

Found = TypeVar("Found")


class ProofImpossible(Exception):
    """The proof could not be run at all; the message says why and what to do."""


class Tell(Protocol):
    """Takes what a person should see of the progress; `total` is 0 while it is unknown."""

    def __call__(self, words: str, done: int = 0, total: int = 0) -> None: ...


def prove(data_dir: Path, tell: Tell) -> Report:
    """Run the system on `data_dir` (fresh) and judge it; the verdict is also left in there.

    Raises ProofImpossible when the system does not start or ends by itself.
    """
    expected = schedules.expected(datetime.now(UTC))
    tell("Starting the whole system on fresh data")
    with _system(data_dir) as (system, ready):
        tell("Waiting until every schedule has ended often enough")
        _wait_for_ends(ready["database_url"], expected, system, tell)
        tell("Judging")
        found = evidence.collect(ready["database_url"], ledger.path_in(data_dir))
        verdict = report.summarise(found, judge.judge(found, expected))
        tell("Stopping the system")
    (data_dir / VERDICT).write_text(json.dumps(verdict.as_json(), indent=2))
    return verdict


def judge_again(data_dir: Path) -> Report:
    """Judge the kept folder of an earlier proof once more, as of the instant it was judged at.

    Raises ProofImpossible if the folder holds no proof.
    """
    try:
        kept = json.loads((data_dir / VERDICT).read_text())
    except FileNotFoundError:
        raise ProofImpossible(
            f"{data_dir} holds no proof; make one with `manage.py demo --keep DIR`"
        ) from None
    judged_at = datetime.fromisoformat(kept["judged_at"])
    with embedded.start(data_dir) as owner:
        found = evidence.collect(
            owner.services.database_url, ledger.path_in(data_dir), judged_at=judged_at
        )
    return report.summarise(found, judge.judge(found, schedules.expected(judged_at)))


@dataclass
class Folder:
    """A data folder and whether it stays when the proof is over."""

    path: Path
    stays: bool


@contextmanager
def fresh_folder(keep: str | None) -> Iterator[Folder]:
    """A data folder with nothing in it: `keep`, or one that is deleted unless it is of interest.

    What a proof left that could not be run is of interest; the caller may say so of others.
    Raises ProofImpossible if `keep` has something in it.
    """
    folder = Folder(resolved(keep or _made()), stays=keep is not None)
    if folder.path.exists() and any(folder.path.iterdir()):
        raise ProofImpossible(f"{folder.path} is not empty; name a new folder for the proof")
    try:
        yield folder
    except ProofImpossible:
        folder.stays = True
        raise
    finally:
        if not folder.stays:
            shutil.rmtree(folder.path, ignore_errors=True)


def _made() -> str:
    folder = Path(tempfile.mkdtemp(prefix="cadenza-demo-"))
    if os.geteuid() == 0:
        folder.chmod(0o755)  # PostgreSQL, which then runs as another user, must be able to enter
    return str(folder)


def resolved(folder: str) -> Path:
    """Where the data of an installation told to use `folder` really is."""
    return embedded.resolve_data_dir(str(Path(folder).absolute()), CHECKOUT)


def _environment(data_dir: Path) -> dict[str, str]:
    """This process' environment without a single setting of this installation."""
    inherited = {
        name: value for name, value in os.environ.items() if name.lower() not in Env.model_fields
    }
    for name in ("DATABASE_URL", "REDIS_URL"):
        if dotenv_values(CHECKOUT / ".env").get(name):
            raise ProofImpossible(
                f"The file .env sets {name}, and the proof must run on data of its own; comment "
                "that line out while it runs"
            )
    return {**inherited, "CADENZA_DATA_DIR": str(data_dir), "DJANGO_ENV": "development"}


@contextmanager
def _system(data_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    environment = _environment(data_dir)
    with tempfile.TemporaryDirectory() as folder:
        said, complained = Path(folder) / "stdout", Path(folder) / "stderr"
        with said.open("wb") as stdout, complained.open("wb") as stderr:
            system = subprocess.Popen(
                SYSTEM,
                env=environment,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            yield system, _ready_line(said, complained, system, data_dir)
        finally:
            _stop(system, data_dir)


def _ready_line(
    said: Path, complained: Path, system: subprocess.Popen[bytes], data_dir: Path
) -> dict[str, Any]:
    def line() -> dict[str, Any] | None:
        first, ended, _ = said.read_text().partition("\n")
        return json.loads(first) if ended else None

    ready = _poll(line, system, seconds=READY_SECONDS)
    if ready is None:
        words = complained.read_text(errors="replace")[-MOST_SHOWN:]
        raise ProofImpossible(
            f"The system did not become ready; {data_dir} has its logs. It said:\n{words}"
        )
    return ready


def _wait_for_ends(
    dsn: str,
    expected: Mapping[str, DemoSchedule],
    system: subprocess.Popen[bytes],
    tell: Tell,
) -> None:
    """Until all have ended often enough, or the time is up: what then lacks, the judge will say."""
    total = sum(one.ends for one in expected.values())

    def is_enough() -> bool:
        ended = evidence.ended(dsn)
        counts = {name: ended.get(name, Counter()) for name in expected}
        done = sum(min(one.ends, one.counted(counts[name])) for name, one in expected.items())
        tell("Waiting until every schedule has ended often enough", done, total)
        return done == total

    if not _poll(is_enough, system, seconds=ENOUGH_SECONDS) and system.poll() is not None:
        raise ProofImpossible(
            f"The system ended by itself with status {system.returncode}; its logs are in the "
            "data folder"
        )


def _poll(
    look: Callable[[], Found | None], system: subprocess.Popen[bytes], *, seconds: float
) -> Found | None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and system.poll() is None:
        try:
            if found := look():
                return found
        except psycopg.OperationalError:  # the supervisor is bringing it back
            pass
        time.sleep(LOOK_SECONDS)
    return None


def _stop(system: subprocess.Popen[bytes], data_dir: Path) -> None:
    system.send_signal(signal.SIGTERM)
    try:
        system.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        system.kill()
        system.wait()
        with embedded.start(data_dir):  # adopts the orphaned services, and stops them
            pass
