"""Outside an execution's life: what the demo's endpoints saw of it, written down by themselves.

One JSON line when a call arrives, one when it has been answered, appended with a single write
each: what is written survives a kill of the server. Imports nothing of the product.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

CUT: Final = 0
HUNG_UP: Final = 499
MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its endpoint saw it; instants are seconds since the epoch (UTC).

    `status` is the HTTP status answered, CUT for a connection closed within the answer, HUNG_UP
    if the caller was gone before it, None while (or because) no answer was given.
    """

    call: str
    endpoint: str
    method: str
    idempotency_key: str | None
    attempt: int | None
    arrived_at: float
    status: int | None = None
    ended_at: float | None = None

    @property
    def was_good(self) -> bool:
        """Whether the endpoint answered with a success."""
        return self.status is not None and 200 <= self.status < 300


class Ledger:
    """The append-only file of all calls; at `most_bytes` it is set aside as `<name>.1`."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._most_bytes = most_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()
        if not _ends_with_a_line(path):
            os.write(self._file, b"\n")

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def listening(self) -> None:
        """Record that from now on calls are taken."""
        self._append({"listening_at": time.time()})

    def arrived(
        self, *, endpoint: str, method: str, idempotency_key: str | None, attempt: int | None
    ) -> str:
        """Record a call before anything is done for it; answers the name it has from now on."""
        name = uuid4().hex
        self._append(
            {
                "call": name,
                "endpoint": endpoint,
                "method": method,
                "idempotency_key": idempotency_key,
                "attempt": attempt,
                "arrived_at": time.time(),
            }
        )
        return name

    def answered(self, call: str, status: int) -> None:
        """Record how a call ended."""
        self._append({"call": call, "status": status, "ended_at": time.time()})

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def _append(self, line: dict[str, Any]) -> None:
        if os.fstat(self._file).st_size > self._most_bytes:
            self.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._file = self._open()
        os.write(self._file, json.dumps(line).encode() + b"\n")


def path_in(data_dir: Path) -> Path:
    """Where the endpoint server of an installation keeps its ledger."""
    return data_dir / "demo" / "calls.jsonl"


def read(path: Path) -> list[Call]:
    """All calls in order of arrival; a line torn by a kill belongs to a call never answered."""
    calls: dict[str, dict[str, Any]] = {}
    for line in _lines(path):
        if "arrived_at" in line:
            calls[line["call"]] = line
        elif line.get("call") in calls:
            calls[line["call"]] |= line
    return [Call(**one) for one in calls.values()]


def listening_since(path: Path) -> float | None:
    """When the endpoints first took calls, in seconds since the epoch; None if it is not known."""
    return next((line["listening_at"] for line in _lines(path) if "listening_at" in line), None)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open() as file:
        for text in file:
            try:
                yield json.loads(text)
            except ValueError:
                continue


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
