"""Which processes live, for whoever asks who is to carry an execution on.

Each beat, worker and web process writes one row of itself and renews it from a thread of its own.
A process is *gone* when its row is not renewed for three periods and it did not say that it ends.
What a row says never decides about an execution: leases do that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection

from config.env import env
from executions_app import refusals
from executions_app.models_presence import Process, ProcessKind
from executions_app.rounds import Rounds

PERIODS_UNTIL_GONE: Final = 3
WRITE: Final = """
INSERT INTO processes
    (id, kind, name, host, pid, queues, version, started_at, seen_at, stopping_at, stopped_at,
    refused_claims, refused_writes)
VALUES (coalesce(%(id)s, cadenza_uuid7()), %(kind)s, %(name)s, %(host)s, %(pid)s, %(queues)s,
        %(version)s, now(), now(),
        CASE WHEN %(is_stopping)s THEN now() END, CASE WHEN %(has_stopped)s THEN now() END,
        %(refused_claims)s, %(refused_writes)s)
ON CONFLICT (id) DO UPDATE SET seen_at = now(),
    refused_claims = excluded.refused_claims, refused_writes = excluded.refused_writes,
    stopping_at = coalesce(processes.stopping_at, excluded.stopping_at),
    stopped_at = excluded.stopped_at
RETURNING id
"""


class Presence(StrEnum):
    """How a process stands, as far as its row tells."""

    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    GONE = "gone"


@dataclass
class Self:
    """This process, as it writes itself."""

    kind: ProcessKind
    name: str
    queues: list[str]
    id: UUID | None = None
    pid: int = field(default_factory=os.getpid)
    is_stopping: bool = False

    def write(self) -> None:
        """Renew the row; one that was forgotten meanwhile is made again."""
        self._write(has_stopped=False)

    def say_goodbye(self) -> None:
        """The clean end."""
        self.is_stopping = True
        self._write(has_stopped=True)

    def _write(self, *, has_stopped: bool) -> None:
        values: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind.value,
            "name": self.name,
            "host": socket.gethostname(),
            "pid": self.pid,
            "queues": self.queues,
            "version": settings.SPECTACULAR_SETTINGS["VERSION"],
            "is_stopping": self.is_stopping,
            "has_stopped": has_stopped,
            "refused_claims": refusals.claims.value,
            "refused_writes": refusals.writes.value,
        }
        with connection.cursor() as cursor:
            cursor.execute(WRITE, values)
            self.id = cursor.fetchone()[0]


class Keeper:
    """Writes one process down as long as it lives."""

    def __init__(self) -> None:
        self._self: Self | None = None
        self._rounds: Rounds | None = None

    def begin(self, kind: ProcessKind, *, name: str = "", queues: Iterable[str] = ()) -> None:
        """This process has started; does nothing the second time."""
        if self._self is not None and self._self.pid == os.getpid():
            return
        named = name or f"{env.cadenza_role}@{socket.gethostname()}"
        self._self = Self(kind, named, sorted(queues))
        self._rounds = Rounds("presence", self._self.write, seconds=env.presence_seconds)
        self._rounds.start()

    def is_to_stop(self) -> None:
        """It was asked to stop; may be called from a signal handler."""
        if self._self is not None and self._rounds is not None:
            self._self.is_stopping = True
            self._rounds.wake()

    def end(self) -> None:
        """It ends now, as it should; raises what the database raises."""
        if self._self is None or self._rounds is None or self._self.pid != os.getpid():
            return
        self._rounds.stop()
        mine, self._self, self._rounds = self._self, None, None
        mine.say_goodbye()


keeper = Keeper()


def until_gone() -> timedelta:
    """How long a process may be silent."""
    return timedelta(seconds=PERIODS_UNTIL_GONE * env.presence_seconds)


def of(process: Process, *, now: datetime) -> Presence:
    """How a process stands at `now`, the database's."""
    if process.stopped_at is not None:
        return Presence.STOPPED
    if now - process.seen_at > until_gone():  # who was asked to stop is not missed
        return Presence.GONE if process.stopping_at is None else Presence.STOPPED
    return Presence.RUNNING if process.stopping_at is None else Presence.STOPPING


def living(*, now: datetime) -> list[Process]:
    """Every process that lives, the newest first."""
    alive = Process.objects.filter(stopped_at=None, seen_at__gte=now - until_gone())
    return list(alive.order_by("-id"))
