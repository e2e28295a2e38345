"""What a killed worker leaves running is found and ended, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from agents_app.handlers import orphans

DEADLINE_SECONDS = 20
STARTS_ONE_AND_WAITS = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[2:])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(60)
"""


def marked(execution_id: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["sleep", "60"], env={"PATH": os.environ["PATH"], orphans.MARK: execution_id}
    )


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for one in started:
        one.kill()
        one.wait()


def test_only_programs_of_the_execution_are_ended(
    sleepers: list[subprocess.Popen[bytes]],
) -> None:
    mine, other = uuid4(), uuid4()
    sleepers += [marked(str(mine)), marked(str(mine)), marked(str(other))]

    ended = orphans.end(mine)

    assert ended == 2
    assert [one.poll() is None for one in sleepers] == [False, False, True]


@pytest.mark.skipif(not orphans.leash(), reason="setpriv of util-linux exists only on Linux")
def test_a_program_dies_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    argv = [*orphans.leash(), "sleep", "60"]
    worker = subprocess.Popen([sys.executable, "-c", STARTS_ONE_AND_WAITS, str(pid_file), *argv])
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        os.sched_yield()
    program = psutil.Process(int(pid_file.read_text()))
    while program.name() != "sleep":
        assert time.monotonic() < deadline, "the leash never became the program"

    worker.kill()
    worker.wait()

    while program.is_running() and program.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the program outlived its worker"
