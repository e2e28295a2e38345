"""What an execution took of the machine is stored with it."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents_app import runner
from agents_app.handlers.base import Context
from agents_app.handlers.shell import ShellCommand, ShellCommandConfig
from agents_app.metering import Meter
from errors_app.taxonomy import Cancelled
from executions_app import lifecycle
from executions_app.ledger import Usage
from executions_app.models import Execution
from tests.agents_app.context import TestContext
from tests.agents_app.scripted import Anything, Queue, stored

pytestmark = pytest.mark.django_db(transaction=True)

MEGABYTE = 1024 * 1024
ON_DISK = Path(__file__).parent  # a folder for temporary files may lie in memory


def toil(*, milliseconds: float) -> None:
    """Use the processor for at least so long, in this thread."""
    ends = time.thread_time() + milliseconds / 1000
    while time.thread_time() < ends:
        sum(range(10_000))


def write_down(size: int) -> None:
    """Write so many bytes through to the disk."""
    path = ON_DISK / f".written-{uuid4().hex}"
    try:
        with path.open("wb") as file:
            file.write(os.urandom(size))
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux counts blocks for each thread")
def test_a_busy_run_stores_its_processor_time_its_memory_and_what_it_wrote(queue: Queue) -> None:
    def work(_: Context[Anything]) -> None:
        toil(milliseconds=60)
        write_down(2 * MEGABYTE)

    execution_id = queue(work)

    runner.run([execution_id])

    usage = stored(execution_id).usage
    assert usage is not None
    assert usage["cpu_ms"] >= 60
    assert usage["peak_memory_kb"] > 10_000  # an interpreter with Django in it
    assert usage["written_kb"] >= 2_000
    assert usage["read_kb"] >= 0


def failing(_: Context[Anything]) -> None:
    toil(milliseconds=60)
    raise ValueError("odd")


@pytest.mark.parametrize("max_retries", [0, 1], ids=["given up", "to be retried"])
def test_an_attempt_that_failed_says_what_it_took(queue: Queue, max_retries: int) -> None:
    execution_id = queue(failing, max_retries=max_retries)

    runner.run([execution_id])

    usage = stored(execution_id).usage
    assert usage is not None
    assert usage["cpu_ms"] >= 60


def test_what_the_attempt_before_took_is_forgotten_with_the_next_claim(queue: Queue) -> None:
    execution_id = queue()
    Execution.objects.filter(id=execution_id).update(usage=Usage(1.0, 2, 3, 4)._asdict())

    lifecycle.claim([execution_id], worker_id="another")  # which dies, and tells nothing

    assert stored(execution_id).usage is None


def test_the_neighbours_in_a_process_do_not_count() -> None:
    meter = Meter()
    neighbour = threading.Thread(target=toil, kwargs={"milliseconds": 300})
    neighbour.start()
    neighbour.join()

    assert meter.usage().cpu_ms < 150


def measured(code: str) -> Usage:
    """What is told of a program in Python."""
    config = ShellCommandConfig(command=[sys.executable, "-c", code])
    context: TestContext[Any] = TestContext(config)
    meter = Meter()
    ShellCommand().run(context)
    ((program, peak_bytes),) = context.programs
    meter.add(program, peak_bytes=peak_bytes)
    return meter.usage()


def test_of_a_program_its_own_processor_time_and_memory_are_told() -> None:
    beyond = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 64 * 1024
    code = f"""
import time
held = bytearray({beyond} * 1024)
ends = time.process_time() + 0.1
while time.process_time() < ends:
    pass
"""

    usage = measured(code)

    assert usage.cpu_ms >= 100
    assert usage.peak_memory_kb > beyond


def test_a_program_is_not_said_to_take_what_its_worker_took() -> None:
    held = bytearray(200 * MEGABYTE)
    held[::4096] = b"x" * len(held[::4096])

    assert measured("pass").peak_memory_kb < 100 * 1024


def test_where_the_kernel_does_not_count_for_threads_processor_and_memory_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("resource.RUSAGE_THREAD")

    meter = Meter()
    toil(milliseconds=60)

    usage = meter.usage()
    assert usage == Usage(usage.cpu_ms, usage.peak_memory_kb, 0, 0)
    assert usage.cpu_ms >= 60
    assert usage.peak_memory_kb > 10_000


def test_who_is_cancelled_or_has_an_unstorable_result_says_what_it_took(queue: Queue) -> None:
    def cancelled(context: Context[Anything]) -> None:
        toil(milliseconds=60)
        lifecycle.cancel(stored(context.execution_id))
        raise Cancelled("was asked to stop")

    def unstorable(_: Context[Anything]) -> dict[str, float]:
        toil(milliseconds=60)
        return {"number": float("1e400")}

    for script in (cancelled, unstorable):
        execution_id = queue(script)
        runner.run([execution_id])
        usage = stored(execution_id).usage
        assert usage is not None, script
        assert usage["cpu_ms"] >= 60
