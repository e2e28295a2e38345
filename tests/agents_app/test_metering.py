"""What an execution took of the machine is stored with it, however it ended."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents_app import runner
from agents_app.handlers.base import Context
from agents_app.handlers.shell import ShellCommand, ShellCommandConfig
from agents_app.metering import Meter
from executions_app import lifecycle
from executions_app.ledger import Usage
from executions_app.models import Execution
from tests.agents_app.context import TestContext
from tests.agents_app.scripted import Anything, Queue, stored

pytestmark = pytest.mark.django_db(transaction=True)

MEGABYTE = 1024 * 1024
ON_DISK = Path(__file__).parent  # a folder for temporary files may lie in memory


def toil(*, milliseconds: float) -> None:
    """Use the processor for at least so long, by its own clock."""
    began = os.times().user + os.times().system
    while (os.times().user + os.times().system - began) * 1000 < milliseconds:
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


def test_a_busy_run_stores_its_processor_time_its_memory_and_what_it_wrote(queue: Queue) -> None:
    def work(_: Context[Anything]) -> None:
        toil(milliseconds=60)
        write_down(2 * MEGABYTE)

    execution_id = queue(work)

    runner.run([execution_id])

    usage = stored(execution_id).usage
    assert usage is not None
    assert usage["cpu_ms"] > 0
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
    assert usage["cpu_ms"] > 0


def test_what_the_attempt_before_took_is_forgotten_with_the_next_claim(queue: Queue) -> None:
    execution_id = queue()
    Execution.objects.filter(id=execution_id).update(usage=Usage(1.0, 2, 3, 4)._asdict())

    lifecycle.claim([execution_id], worker_id="another")  # which dies, and tells nothing

    assert stored(execution_id).usage is None


def test_the_neighbours_in_a_process_do_not_count() -> None:
    is_over = threading.Event()

    def neighbour() -> None:
        while not is_over.is_set():
            sum(range(10_000))

    thread = threading.Thread(target=neighbour)
    meter = Meter()
    thread.start()
    toil(milliseconds=100)  # of the whole process: most of it is the neighbour's
    own = meter.usage()
    is_over.set()
    thread.join()

    alone = Meter()
    toil(milliseconds=100)
    assert own.cpu_ms < alone.usage().cpu_ms


def test_of_a_program_its_own_processor_time_and_memory_are_told() -> None:
    code = "held = bytearray(64 * 1024 * 1024); sum(range(3_000_000))"
    context: TestContext[Any] = TestContext(
        ShellCommandConfig(command=[sys.executable, "-c", code])
    )
    meter = Meter()

    ShellCommand().run(context)
    for one in context.programs:
        meter.add(one)

    usage = meter.usage()
    assert len(context.programs) == 1
    assert usage.cpu_ms > 10
    assert usage.peak_memory_kb > 64 * 1024


def test_where_the_kernel_does_not_count_for_threads_processor_and_memory_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("resource.RUSAGE_THREAD")

    meter = Meter()
    toil(milliseconds=60)

    usage = meter.usage()
    assert usage == Usage(usage.cpu_ms, usage.peak_memory_kb, 0, 0)
    assert usage.cpu_ms > 0
    assert usage.peak_memory_kb > 10_000
