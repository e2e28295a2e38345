"""Beside the numbers: where the processors' time goes, by process and by function.

It is taken in a run of its own that is not counted, for to look costs time itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.installation import Installation

RATE: Final = 200  # samples a second
START_SECONDS: Final = 10.0
END_SECONDS: Final = 30.0
FUNCTIONS: Final = 5
HARNESS: Final = "this benchmark"


@dataclass(frozen=True, slots=True)
class Profile:
    """Rows for two tables: what each process used, and the functions it was in most."""

    processes: Sequence[Mapping[str, Any]]
    functions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class _Used:
    """Seconds of a processor so far, of a process and of all it has started."""

    user: float = 0.0
    kernel: float = 0.0

    def since(self, before: _Used) -> _Used:
        return _Used(self.user - before.user, self.kernel - before.kernel)


def take(ours: Installation, run: Callable[[], object], *, sampler: Path | None) -> Profile:
    """Run once more what was measured and look where it goes; no sampler: by process only."""
    pids = _pids(ours)
    samples: dict[str, Counter[str]] = {}
    before = {name: _used(pid) for name, pid in pids.items()}
    with _sampled(ours, sampler, samples):
        run()
        used = {name: _used(pid).since(before[name]) for name, pid in pids.items()}
    return Profile(_process_rows(used), function_rows(samples))


def _pids(ours: Installation) -> dict[str, int]:
    programs = {
        name: one.child.pid for name, one in ours.programs.running.items() if one.child is not None
    }
    return {**programs, **ours.services.pids, HARNESS: os.getpid()}


def _used(pid: int) -> _Used:
    """Children that have ended count with whoever waited for them."""
    process = psutil.Process(pid)
    family = [process, *(process.children(recursive=True) if pid != os.getpid() else [])]
    user = kernel = 0.0
    for one in family:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        user += times.user + times.children_user
        kernel += times.system + times.children_system
    return _Used(user, kernel)


def _process_rows(used: Mapping[str, _Used]) -> list[dict[str, Any]]:
    total = sum(one.user + one.kernel for one in used.values()) or 1.0
    ordered = sorted(used.items(), key=lambda item: -(item[1].user + item[1].kernel))
    return [
        {
            "process": name,
            "own code (s)": round(one.user, 2),
            "kernel (s)": round(one.kernel, 2),
            "of all": f"{(one.user + one.kernel) / total:.0%}",
        }
        for name, one in ordered
    ]


@contextmanager
def _sampled(
    ours: Installation, sampler: Path | None, samples: dict[str, Counter[str]]
) -> Iterator[None]:
    """Fill `samples` with {process: {function: times seen at work}} while this lasts."""
    if sampler is None:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        watching = {
            name: _watch(sampler, one.child.pid, Path(folder) / name)
            for name, one in ours.programs.running.items()
            if one.child is not None
        }
        try:
            yield
        finally:
            for watcher in watching.values():
                watcher.send_signal(signal.SIGINT)  # it writes what it saw
            for name, watcher in watching.items():
                _, said = watcher.communicate(timeout=END_SECONDS)
                seen = Path(folder) / name
                samples[name] = leaves(seen.read_text()) if seen.exists() else Counter({said: 0})


def _watch(sampler: Path, pid: int, output: Path) -> subprocess.Popen[str]:
    watcher = subprocess.Popen(
        [
            *(str(sampler), "record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw"),
            *("--nonblocking", "--subprocesses", "--output", str(output)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert watcher.stdout is not None
    watcher.stdout.readline()  # it says so once it looks
    return watcher


def leaves(stacks: str) -> Counter[str]:
    """Of lines `outer;inner;innermost count`, how often each innermost function was seen."""
    found: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack and count.isdigit():
            function, _, place = stack.rsplit(";", 1)[-1].partition(" (")
            found[f"{function} ({place.rpartition(':')[0] or place.rstrip(')')})"] += int(count)
    return found


def function_rows(samples: Mapping[str, Counter[str]]) -> list[dict[str, Any]]:
    """The functions in which each process was seen most, as rows of a table."""
    return [
        {"process": name, "seen": f"{count / found.total():.0%}", "function": f"`{function}`"}
        for name, found in samples.items()
        if found.total()
        for function, count in found.most_common(FUNCTIONS)
    ]
