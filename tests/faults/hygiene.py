"""What is left behind once all is quiet: I8, as far as it can be seen after a fault.

In the broker's database nothing lives without an end but what the product and its broker always
have there, and no message waits that nobody needs; no process keeps dead children, much memory or
more sessions of PostgreSQL than it may have.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import psutil
import redis
from django.db import connection

from config.env import env
from executions_app.models import Execution
from tests.faults.invariants import HEALED_SECONDS
from tests.processes import ALL_QUEUES, POLL_SECONDS, System

MIB: Final = 2**20
MOST_MEMORY: Final = 512 * MIB
SESSIONS_BESIDE_THE_POOL: Final = 4  # of each process: what listens, what keeps leases
QUEUES: Final = frozenset(ALL_QUEUES.split(","))
DUTIES: Final = "system"  # where beats send what is to be done now and then
# Of Celery: who takes from which queue, and what was taken and is not done with.
OF_THE_BROKER: Final = ("_kombu.binding", "unacked")
OURS: Final = frozenset({"cadenza:epoch", "cadenza:predictions"})


def litter(system: System) -> list[str]:
    """What should not be there, if it is still there after a minute."""
    ends = time.monotonic() + HEALED_SECONDS
    while (found := list(_found(system))) and time.monotonic() < ends:
        time.sleep(POLL_SECONDS)
    return [f"I8 {one}" for one in found]


def _found(system: System) -> Iterator[str]:
    server = system.processes.get("redis")
    if server is not None and server.is_alive():
        yield from _without_end(system.broker)
        if any(ALL_QUEUES in one.argv and one.is_alive() for one in system.processes.values()):
            yield from _not_needed(system.broker)
    trees = [tree for tree in _trees(system) if tree]
    for tree in trees:
        yield from _of_processes(tree)
    if trees:
        yield from _of_sessions(sum(len(tree) for tree in trees))


def _without_end(broker: redis.Redis) -> Iterator[str]:
    for key in broker.scan_iter(count=1_000):
        name = key.decode(errors="replace")
        is_known = name in QUEUES | OURS or name.startswith(OF_THE_BROKER)
        if not is_known and broker.ttl(key) == -1:  # -2: it is gone meanwhile
            yield f"the key {name!r} in Redis has no end"


def _not_needed(broker: redis.Redis) -> Iterator[str]:
    """Somebody takes from every queue, so only what is queued can wait there."""
    waiting = sum(broker.llen(name) for name in QUEUES - {DUTIES})
    wanted = Execution.objects.filter(status="queued").count()
    if waiting > wanted:
        yield f"{waiting} messages wait, for {wanted} executions that are queued"


def _trees(system: System) -> Iterator[list[psutil.Process]]:
    """Each process of the product with its children."""
    for process in system.processes.values():
        if process.name != "redis" and process.is_alive():
            try:
                top = psutil.Process(process.pid)
                yield [top, *top.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue


def _of_processes(tree: list[psutil.Process]) -> Iterator[str]:
    for one in tree:
        try:
            status, memory = one.status(), one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        if status == psutil.STATUS_ZOMBIE:
            yield f"process {tree[0].pid} keeps its dead child {one.pid}"
        if memory > MOST_MEMORY:
            yield f"process {one.pid} of {tree[0].pid} holds {memory // MIB} MiB"


def _of_sessions(processes: int) -> Iterator[str]:
    most = processes * (env.database_pool_size + SESSIONS_BESIDE_THE_POOL)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'cadenza-%' AND pid <> pg_backend_pid()"
        )
        (count,) = cursor.fetchone()
    if count > most:
        yield f"{count} sessions of PostgreSQL, of {processes} processes"
