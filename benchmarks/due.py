"""Around a thousand executions: how soon after their planned instant an endpoint sees them.

Runs the whole system as `manage.py up` does, on a data folder and ports of its own, lets `count`
one-time schedules come due at the same instant, and measures in the endpoint's own ledger.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, TypeVar

import psutil
import psycopg
import redis

from config import embedded, embedded_instance
from config.demo import ledger
from config.env import CHECKOUT, Env

LATEST_SECONDS: Final = 5.0
LOAD_SECONDS: Final = 20.0  # from the first schedule made to the instant at which all are due
GIVE_UP_SECONDS: Final = 60.0
READY_SECONDS: Final = 180.0
STOP_SECONDS: Final = 90.0
LOOK_SECONDS: Final = 0.2
MANAGE: Final = [sys.executable, str(CHECKOUT / "manage.py")]
PACKAGES: Final = ("celery", "django", "kombu", "psycopg", "redis")

Found = TypeVar("Found")


class MeasurementImpossible(Exception):
    """Nothing could be measured; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Arrivals at the endpoint, in milliseconds after the instant at which all were due."""

    due_at: str
    count: int
    arrived: int
    missing: int
    doubled: int
    late: int
    arrival_ms: dict[str, float]
    machine: dict[str, str | int | float]
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Everything arrived once and within LATEST_SECONDS."""
        return not (self.missing or self.doubled or self.late)

    def as_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return {"benchmark": "due", "is_good": self.is_good, **asdict(self)}


def measure(*, count: int, tell: Callable[[str], None]) -> Measurement:
    """Run the measurement, which takes about a minute; raises MeasurementImpossible."""
    port = embedded_instance.next_free(0)
    url = f"http://127.0.0.1:{port}"
    with _folder() as folder:
        environment = _environment(folder, port=port)
        calls = ledger.path_in(folder)
        with ExitStack() as running:
            tell("Starting the whole system on fresh data")
            ready = running.enter_context(_system(environment, folder))
            running.enter_context(_endpoint(environment, calls))
            tell(f"Making {count} schedules")
            due_at = _load(environment, url=url, count=count)
            tell(f"Waiting for {due_at:%H:%M:%S} UTC and the arrivals")
            _wait_for_arrivals(calls, count=count, due_at=due_at)
            versions = _versions(ready)
            tell("Stopping")
        # Read once more: what arrived while the workers drained would be a double.
        return judged(ledger.read(calls), count=count, due_at=due_at, versions=versions)


def judged(
    calls: Sequence[ledger.Call], *, count: int, due_at: datetime, versions: Mapping[str, str]
) -> Measurement:
    """The numbers of `calls`, of which `count` different ones were due at `due_at`."""
    seen = Counter(call.idempotency_key for call in calls)
    waits = sorted((call.arrived_at - due_at.timestamp()) * 1000 for call in calls)
    return Measurement(
        due_at=due_at.isoformat(),
        count=count,
        arrived=len(calls),
        missing=count - len(seen),
        doubled=sum(times - 1 for times in seen.values()),
        late=sum(wait > LATEST_SECONDS * 1000 for wait in waits),
        arrival_ms=percentiles(waits),
        machine=_machine(),
        versions=dict(versions),
    )


def percentiles(waits: Sequence[float]) -> dict[str, float]:
    """min, p50, p95, p99 and max of sorted numbers; empty without at least two."""
    if len(waits) < 2:
        return {}
    cuts = quantiles(waits, n=100, method="inclusive")
    chosen = {"min": waits[0], "p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": waits[-1]}
    return {name: round(value, 1) for name, value in chosen.items()}


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


def _environment(folder: Path, *, port: int) -> dict[str, str]:
    """This process' environment without a single setting of this installation."""
    inherited = {
        name: value for name, value in os.environ.items() if name.lower() not in Env.model_fields
    }
    return {
        **inherited,
        "CADENZA_DATA_DIR": str(folder),
        "DEMO_PORT": str(port),
        "OUTBOUND_ALLOW": f"127.0.0.1:{port}",
        "LOG_LEVEL": "WARNING",
    }


@contextmanager
def _system(environment: Mapping[str, str], folder: Path) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryFile() as errors:
        child = _start(["up", "--json"], environment, stdout=subprocess.PIPE, stderr=errors)
        try:
            yield _ready(child, errors)
        finally:
            _stop(child)
            if child.returncode == -signal.SIGKILL:
                with embedded.start(folder):  # adopts the orphaned services, and stops them
                    pass


def _ready(child: subprocess.Popen[bytes], errors: Any) -> dict[str, Any]:
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    said = bytearray()

    def line() -> bytes | None:
        said.extend(child.stdout.read() or b"")  # type: ignore[union-attr]
        return bytes(said) if said.endswith(b"\n") else None

    first = _poll(line, seconds=READY_SECONDS, giving_up=lambda: child.poll() is not None)
    if first is None:
        errors.seek(0)
        end = errors.read().decode(errors="replace")[-2_000:]
        raise MeasurementImpossible(f"The system did not become ready; it said:\n{end}")
    ready: dict[str, Any] = json.loads(first)
    return ready


@contextmanager
def _endpoint(environment: Mapping[str, str], calls: Path) -> Iterator[None]:
    child = _start(["demo", "--serve"], environment)
    try:
        if not _poll(calls.exists, seconds=30.0, giving_up=lambda: child.poll() is not None):
            raise MeasurementImpossible("The endpoint server did not start; try `demo --serve`")
        yield
    finally:
        _stop(child)


def _load(environment: Mapping[str, str], *, url: str, count: int) -> datetime:
    due_at = (datetime.now(UTC) + timedelta(seconds=LOAD_SECONDS)).replace(microsecond=0)
    arguments = ["benchmark", "load", "--url", f"{url}/steady", "--count", str(count)]
    done = subprocess.run(
        [*MANAGE, *arguments, "--at", due_at.isoformat()],
        env=dict(environment),
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise MeasurementImpossible(f"The schedules could not be made:\n{done.stderr[-2_000:]}")
    if datetime.now(UTC) >= due_at:
        raise MeasurementImpossible(
            f"Making {count} schedules took longer than {LOAD_SECONDS:g} s; measure fewer"
        )
    return due_at


def _wait_for_arrivals(calls: Path, *, count: int, due_at: datetime) -> None:
    """Until all are there or the time is up; what then lacks is a result, not an error."""
    wait = (due_at - datetime.now(UTC)).total_seconds() + GIVE_UP_SECONDS
    _poll(
        lambda: len({call.idempotency_key for call in ledger.read(calls)}) >= count,
        seconds=wait,
        giving_up=lambda: False,
    )


def _start(
    arguments: Sequence[str], environment: Mapping[str, str], **streams: Any
) -> subprocess.Popen[bytes]:
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen(
        [*MANAGE, *arguments],
        env=dict(environment),
        cwd=CHECKOUT,
        start_new_session=True,
        **{**quiet, **streams},
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _poll(
    look: Callable[[], Found | None], *, seconds: float, giving_up: Callable[[], bool]
) -> Found | None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := look():
            return found
        if giving_up():
            return None
        time.sleep(LOOK_SECONDS)
    return None


def _machine() -> dict[str, str | int | float]:
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _versions(ready: Mapping[str, Any]) -> dict[str, str]:
    with psycopg.connect(ready["database_url"]) as database:
        row = database.execute("SHOW server_version").fetchone()
    with redis.Redis.from_url(ready["redis_url"]) as client:
        broker: Any = client.info("server")
    return {
        "python": platform.python_version(),
        "postgresql": str(row[0]) if row else "",
        "redis_server": str(broker["redis_version"]),
        **{name: version(name) for name in PACKAGES},
    }
