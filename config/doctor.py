"""Whether this installation can carry an execution from its fire to its outcome, part by part.

Each check looks at one thing and answers a Finding: ok, warn or fail, and the fix. A check whose
service is away is not made; the finding of the service says why.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from kombu.exceptions import OperationalError as BrokerError

from agents_app import nearness
from agents_app.objects import credentials, drafts
from config import fit
from config.celery import app
from config.env import env
from errors_app.models import Alert, AlertStatus
from executions_app import clock, partitions
from executions_app.command_problems import problem_of
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from executions_app.wording import duration, moment
from scheduler_app import queues, system

PYTHONS: Final = ((3, 11), (3, 13))
OLDEST_POSTGRES: Final = 140_000
OLDEST_REDIS: Final = (6, 2)
PRIVATE_FILES: Final = (
    "services.json", "instance.json", "session_secret", "field_encryption_key"
)  # fmt: skip
START: Final = "Start it with `make up`"
LOOK: Final = "See that it runs, and that DATABASE_URL and REDIS_URL are right"
MIGRATE: Final = "Run `manage.py migrate`"
MOST_SKEW: Final = timedelta(seconds=2)
TICK_ALARM: Final = timedelta(seconds=10)
QUEUED_ALARM: Final = timedelta(seconds=60)
LITTLE_DISK: Final = 1_000_000_000
NO_DISK: Final = 100_000_000
AWAY: Final = (OperationalError, InterfaceError, redis.RedisError, BrokerError, OSError)


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `fix` says what to do unless all is well."""

    name: str
    level: Level
    fact: str
    fix: str = ""


Verdict = tuple[Level, str, str]
Check = Callable[[], Verdict]


def examine() -> list[Finding]:
    """Make every check that can be made, in the order in which they should be mended."""
    findings = [_made(name, check) for name, check in OF_THE_MACHINE.items()]
    for service, check, dependents in SERVICES:
        finding = _made(service, check)
        findings.append(finding)
        if finding.level is not Level.FAIL:
            findings += dependents()
    return findings


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level that was found."""
    return max((one.level for one in findings), key=list(Level).index, default=Level.OK)


def _of_the_database() -> list[Finding]:
    migrated = _made("migrations", _migrations)
    if migrated.level is Level.FAIL:
        return [migrated]
    return [migrated, *(_made(name, check) for name, check in OF_THE_TABLES.items())]


def _of_redis() -> list[Finding]:
    return [_made(name, check) for name, check in OF_REDIS.items()]


def _made(name: str, check: Check) -> Finding:
    try:
        return Finding(name, *check())
    except AWAY as error:
        problem = problem_of(error)
        fact, fix = (problem.what, problem.todo) if problem else (str(error), START)
        return Finding(name, Level.FAIL, fact, LOOK if "doctor" in fix else fix)


def _good(fact: str) -> Verdict:
    return Level.OK, fact, ""


def _python() -> Verdict:
    version = sys.version_info[:2]
    shown = ".".join(map(str, sys.version_info[:3]))
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return _good(f"Python {shown}")
    return Level.FAIL, f"Python {shown} is not supported", "Use Python 3.11, 3.12 or 3.13"


def _settings() -> Verdict:
    found = fit.problems(env)
    if found:
        return Level.FAIL, "; ".join(found), "Correct them in the environment or in .env"
    return _good(f"{len(type(env).model_fields)} settings fit together ({env.django_env})")


def _data_folder() -> Verdict:
    folder = Path(settings.SERVICES.data_dir)
    if not folder.is_dir():
        return Level.WARN, f"{folder} does not exist yet", START
    readable = [
        path.name
        for path in (folder / name for name in PRIVATE_FILES)
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if readable:
        names = ", ".join(readable)
        return Level.FAIL, f"Others may read {names} in {folder}", f"chmod 600 {names} there"
    return _good(str(folder))


def _disk() -> Verdict:
    folder = Path(settings.SERVICES.data_dir)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    fact = f"{free / 1e9:.1f} GB free at {existing}"
    if free < NO_DISK:
        return Level.FAIL, fact, "Free some space: PostgreSQL stops on a full disk"
    if free < LITTLE_DISK:
        return Level.WARN, fact, "Free some space soon"
    return _good(fact)


def _postgres() -> Verdict:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
        )
        number, name = cursor.fetchone()
    if number < OLDEST_POSTGRES:
        return Level.FAIL, f"PostgreSQL {name} is too old", "Use PostgreSQL 14 or newer"
    return _good(f"PostgreSQL {name} answers, {nearness.means()}")


def _migrations() -> Verdict:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        names = ", ".join(f"{one.app_label}.{one.name}" for one, _ in missing[:5])
        return Level.FAIL, f"{len(missing)} migrations are not applied: {names}", MIGRATE
    return _good("all applied")


def _clocks() -> Verdict:
    skew = abs(datetime.now(UTC) - clock.now())
    fact = f"this machine and PostgreSQL differ by {duration(skew)}"
    if skew > MOST_SKEW:
        return Level.WARN, fact, "Let NTP set both clocks; PostgreSQL's decides what is due"
    return _good(fact)


def _beats() -> Verdict:
    state, now = system.read(), clock.now()
    last = state.scheduler_last_tick_at
    if last is None or now - last > max(TICK_ALARM, 5 * timedelta(seconds=env.tick_seconds)):
        return Level.FAIL, f"No beat is alive; last tick {moment(last, now=now)}", START
    if state.problem:
        return Level.FAIL, state.problem, "Mend that first; due work is kept meanwhile"
    if not state.scheduler_running:
        return Level.WARN, "The scheduler is stopped", "Run `manage.py scheduler start`"
    return _good(f"last tick {moment(last, now=now)}")


def _partitions() -> Verdict:
    now = clock.now()
    months = list(partitions.months(now, partitions.next_month(now.replace(day=1))))
    missing = [
        name
        for table in partitions.TABLES
        for name in (f"{table.name}_{month:%Y_%m}" for month in months)
        if name not in partitions.existing(table)
    ]
    if missing:
        return Level.FAIL, f"missing: {', '.join(missing)}", "Run `manage.py retention`"
    return _good("this month's and the next one's exist")


def _queued() -> Verdict:
    queued = Execution.objects.filter(status=ExecutionStatus.QUEUED)
    oldest, now = queued.aggregate(oldest=Min("queued_at"))["oldest"], clock.now()
    if oldest is not None and now - oldest > QUEUED_ALARM:
        fact = f"The oldest stands in its queue since {moment(oldest, now=now)}"
        return Level.WARN, fact, "Start more workers, or see `manage.py locks list`"
    return _good("nothing waits long" if oldest else "nothing waits")


def _alerts() -> Verdict:
    firing = Alert.objects.filter(status=AlertStatus.FIRING).count()
    if firing:
        return Level.WARN, f"{firing} are firing", "`manage.py alerts list` says which"
    return _good("none is firing")


def _lost_leases() -> Verdict:
    late = clock.now() - 3 * timedelta(seconds=env.rescue_seconds)
    running = Execution.objects.filter(status=ExecutionStatus.RUNNING)
    lost = running.filter(lease_expires_at__lt=late).count()
    if lost:
        return Level.FAIL, f"{lost} expired leases were not rescued", f"A beat rescues: {START}"
    return _good("none is overdue")


def _credentials() -> Verdict:
    names, fix = drafts.named(credentials.unbound()), "Name the hosts that each may travel to"
    fact = f"Shared, and may travel anywhere: {names}" if names else "shared ones name their hosts"
    return (Level.WARN, fact, fix) if names else _good(fact)


def _redis() -> Verdict:
    info: Any = queues.broker().info()
    version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if version < OLDEST_REDIS:
        fact = f"Redis {info['redis_version']} is too old"
        return Level.FAIL, fact, "Use Redis 6.2 or newer, or Valkey"
    return _good(f"Redis {info['redis_version']} answers")


def _eviction() -> Verdict:
    info: Any = queues.broker().info("memory")
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        fix = "CONFIG SET maxmemory-policy noeviction, and in redis.conf"
        return Level.WARN, f"maxmemory-policy is {policy}: messages may vanish", fix
    return _good("maxmemory-policy is noeviction")


def _depths() -> Verdict:
    depths = ", ".join(f"{name} {depth}" for name, depth in queues.depths().items())
    return _good(depths)


def _workers() -> Verdict:
    served = app.control.inspect(timeout=1).active_queues() or {}
    names = {queue["name"] for its_queues in served.values() for queue in its_queues}
    missing = [name for name in queues.ALL_QUEUES if name not in names]
    if not served:
        return Level.FAIL, "No worker answers", START
    if missing:
        fix = f"Start a worker with -Q {','.join(missing)}"
        return Level.FAIL, f"No worker takes from {', '.join(missing)}", fix
    return _good(f"every queue is read; workers: {len(served)}")


OF_THE_MACHINE: Final[dict[str, Check]] = {
    "python": _python,
    "settings": _settings,
    "data folder": _data_folder,
    "disk": _disk,
}
SERVICES: Final[tuple[tuple[str, Check, Callable[[], list[Finding]]], ...]] = (
    ("postgresql", _postgres, _of_the_database),
    ("redis", _redis, _of_redis),
)
OF_THE_TABLES: Final[dict[str, Check]] = {
    "clocks": _clocks,
    "partitions": _partitions,
    "beats": _beats,
    "leases": _lost_leases,
    "waiting": _queued,
    "alerts": _alerts,
    "credentials": _credentials,
}
OF_REDIS: Final[dict[str, Check]] = {
    "eviction": _eviction,
    "queues": _depths,
    "workers": _workers,
}
