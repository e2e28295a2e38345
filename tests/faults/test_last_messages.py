"""What Redis hands to a worker in the moment in which it is told to stop: others get it at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from executions_app.models import Execution
from tests.faults.leaving import exit_status, leave, says, tell
from tests.journeys.scenario import begun, one, reaches, run, status
from tests.processes import Process, System

pytestmark = pytest.mark.fault

PLACES: Final = 3
MOST_LEAVERS: Final = 8  # most leave a question open, which Redis ends after a second
MOST_QUESTIONS: Final = 10
SOON_SECONDS: Final = 0.5  # Redis answers at once who has a question open
WENT_BACK: Final = "Requeuing undeliverable message for queue 'normal'"  # says the library


def leaver(system: System, name: str, *, pool: str) -> Process:
    """The only worker, with the queues to itself: no beat is to send anything again."""
    system.beat()
    for process in system.processes.values():
        if process.name not in {"beat", "redis"} and process.is_alive():
            assert leave(system, process) == 0
    worker = system.worker(name, threads=PLACES, pool=pool, DRAIN_SECONDS="60")
    system.wait_ready()
    return worker


def runs_until(system: System, gate: Path) -> UUID:
    """An execution that has begun and ends when the gate opens."""
    execution = run({"until": str(gate)})
    system.until(lambda: begun(system, execution), what="it has begun")
    return execution


def nobody_keeps(system: System, sent: UUID) -> None:
    """Wait until a message stands in its queue again, a beat is to send it again, or it runs."""
    system.until(
        lambda: (
            system.broker.llen("normal") == 1
            or Execution.objects.filter(id=sent, published_at=None).exists()
            or begun(system, sent)
        ),
        what="others can have what was sent",
        seconds=10,
    )


def ends(system: System, worker: Process, gate: Path, *running: UUID) -> None:
    gate.touch()
    assert exit_status(system, worker) == 0
    assert {(one(each).status, one(each).attempt) for each in running} == {("completed", 1)}


def gives_its_last_answer_back(system: System, gate: Path, name: str) -> bool:
    """Whether its last question was still open when it listened no more; and nothing was kept."""
    worker = leaver(system, name, pool="threads")
    short = gate.with_name(f"short of {name}")
    running, ending = runs_until(system, gate), runs_until(system, short)
    assert leave(system, system.processes["beat"]) == 0

    tell(worker)
    system.until(lambda: says(worker, "Warm shutdown"), what="it has heard")
    short.touch()  # as this ends it looks up, amid a question to Redis
    system.until(lambda: status(ending) == "completed", what="it looks up")
    sent = run()

    nobody_keeps(system, sent)
    ends(system, worker, gate, running, ending)
    return says(worker, WENT_BACK)


def test_no_message_stays_with_a_worker_that_listens_no_more(system: System, gate: Path) -> None:
    """Redis answers its last question when it has heard already that it is to stop."""
    leavers = (f"leaver {number}" for number in range(MOST_LEAVERS))
    assert any(
        gives_its_last_answer_back(system, gate.with_name(f"gate of {name}"), name)
        for name in leavers
    ), "none had a question open"


def hands_over(system: System, worker: Process) -> UUID:
    """An execution whose message Redis has given to a worker that stands still."""
    for _ in range(MOST_QUESTIONS):
        worker.pause()
        execution = run()
        with suppress(AssertionError):  # its question was over before this was sent
            system.until(
                lambda: not system.broker.llen("normal"), what="it has it", seconds=SOON_SECONDS
            )
            return execution
        worker.resume()
        reaches(system, execution, "completed")
    raise AssertionError("it never had a question open")


def test_no_message_stays_on_its_way_to_a_child(system: System, gate: Path) -> None:
    """Redis has answered, and the worker hears that it is to stop as it reads the message."""
    worker = leaver(system, "parent", pool="prefork")
    running = runs_until(system, gate)
    assert leave(system, system.processes["beat"]) == 0

    sent = hands_over(system, worker)
    tell(worker)
    worker.resume()

    system.until(lambda: system.broker.llen("normal"), what="others can have it", seconds=10)
    assert not begun(system, sent)
    ends(system, worker, gate, running)
