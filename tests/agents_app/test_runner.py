"""One execution in a worker: its outcome is recorded once, whatever its handler does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now
from pydantic import BaseModel, ConfigDict

from agents_app import runner
from agents_app.handlers import registry
from agents_app.handlers.base import Context, Handler, Outcome
from agents_app.heartbeat import heartbeat
from agents_app.tasks import run_executions
from errors_app.models import ErrorRecord
from executions_app import clock, ids, lifecycle
from executions_app.models import Execution
from executions_app.states import ExecutionStatus

pytestmark = pytest.mark.django_db(transaction=True)

Queue = Callable[..., UUID]
PATIENCE_SECONDS = 20


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


class Scripted(Handler[Anything]):
    """Does what the test that is running wants."""

    config_model = Anything
    nature = "io"
    script: Callable[[Context[Anything]], Any] = staticmethod(lambda _: None)
    started = threading.Event()
    told_to_cancel = threading.Event()

    def run(self, context: Context[Anything]) -> Outcome:
        self.started.set()
        return Outcome(output=Scripted.script(context))

    def cancel(self, context: Context[Anything]) -> None:  # noqa: ARG002  the interface's
        self.told_to_cancel.set()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Scripted]]:
    monkeypatch.setitem(registry._registered, "scripted", Scripted)
    Scripted.started.clear()
    Scripted.told_to_cancel.clear()
    yield Scripted
    Scripted.script = staticmethod(lambda _: None)


@pytest.fixture
def queue(scripted: type[Scripted]) -> Queue:
    owner = User.objects.create_user("owner")

    def make(
        script: Callable[[Context[Anything]], Any] = lambda _: None,
        *,
        task_type: str = "scripted",
        task_config: object = None,
        timeout_ms: int = 60_000,
        max_retries: int = 0,
    ) -> UUID:
        scripted.script = staticmethod(script)
        now = clock.now()
        execution = lifecycle.NewExecution(
            id=ids.new(now),
            schedule_id=None,
            owner_id=owner.pk,
            snapshot={
                "name": "a job",
                "task_type": task_type,
                "task_config": task_config or {},
                "timeout_ms": timeout_ms,
                "retry_policy": {"max_retries": max_retries, "base_ms": 1},
            },
            trigger="time",
            due_at=now,
            priority="normal",
            max_attempts=max_retries + 1,
            status=ExecutionStatus.QUEUED,
        )
        with transaction.atomic():
            lifecycle.create([execution])
        return execution.id

    return make


def stored(execution_id: UUID) -> Execution:
    return Execution.objects.get(id=execution_id)


def until_checked(context: Context[Anything]) -> None:
    """Work until the context says stop; a context that never does fails the test."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        context.check()
        threading.Event().wait(0.01)
    raise AssertionError("the handler was never told to stop")


def test_what_the_handler_returns_is_the_result(queue: Queue) -> None:
    execution_id = queue(lambda context: {"attempt": context.attempt})

    assert runner.run([execution_id]) == 1

    row = stored(execution_id)
    assert (row.status, row.outcome, row.result) == ("completed", "ok", {"attempt": 1})
    assert row.worker_id == runner.worker_id()


def test_a_message_for_nothing_that_is_queued_does_nothing(queue: Queue) -> None:
    execution_id = queue()
    runner.run([execution_id])

    assert runner.run([execution_id, uuid4()]) == 0
    assert stored(execution_id).attempt == 1


def raising(error: BaseException) -> Callable[[Context[Anything]], None]:
    def script(_: Context[Anything]) -> None:
        raise error

    return script


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (ValueError("odd"), "unknown"),
        (MemoryError("boom"), "resource"),
        (SystemExit(3), "permanent"),
        (RecursionError("deep"), "resource"),
        (ConnectionResetError("reset"), "transient"),
        (TimeoutError("slow"), "timeout"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else one,
)
def test_whatever_a_handler_raises_is_recorded_and_never_escapes(
    queue: Queue, error: BaseException, error_class: str
) -> None:
    execution_id = queue(raising(error))

    run_executions(execution_ids=[str(execution_id)])

    record = ErrorRecord.objects.get(execution_id=execution_id)
    assert (record.error_class, record.exception_type) == (error_class, type(error).__name__)
    assert record.stack
    assert stored(execution_id).status == "failed"


def test_a_transient_failure_waits_for_its_retry(queue: Queue) -> None:
    execution_id = queue(raising(ConnectionResetError("reset")), max_retries=1)

    runner.run([execution_id])

    assert (stored(execution_id).status, stored(execution_id).attempt) == ("pending", 1)


def test_an_unknown_task_type_is_a_permanent_failure(queue: Queue) -> None:
    execution_id = queue(task_type="teleport", max_retries=3)

    runner.run([execution_id])

    assert stored(execution_id).status == "failed"
    assert "teleport" in ErrorRecord.objects.get().message


def test_a_corrupt_task_config_is_a_permanent_failure(queue: Queue) -> None:
    execution_id = queue(task_type="shell_command", task_config={"comand": "true"}, max_retries=3)

    runner.run([execution_id])

    assert stored(execution_id).status == "failed"
    assert "comand" in ErrorRecord.objects.get().message


def test_an_overrun_of_the_time_limit_is_a_timeout(queue: Queue) -> None:
    execution_id = queue(until_checked, timeout_ms=100)

    runner.run([execution_id])

    row = stored(execution_id)
    assert (row.status, row.outcome) == ("failed", "timeout")


def in_the_background(execution_id: UUID) -> threading.Thread:
    def work() -> None:
        run_executions(execution_ids=[str(execution_id)])
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_running_execution_that_is_cancelled_stops_and_tells_its_handler(
    queue: Queue, scripted: type[Scripted]
) -> None:
    execution_id = queue(until_checked)
    thread = in_the_background(execution_id)
    assert scripted.started.wait(PATIENCE_SECONDS)

    lifecycle.cancel(stored(execution_id))
    thread.join(PATIENCE_SECONDS)

    row = stored(execution_id)
    assert (row.status, row.outcome) == ("cancelled", "cancelled")
    assert scripted.told_to_cancel.is_set()
    assert ErrorRecord.objects.count() == 0


def test_a_handler_whose_cancel_exits_keeps_nobody_else_from_being_heard(
    queue: Queue, scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(_self: Scripted, _context: Context[Anything]) -> None:
        raise SystemExit(1)

    for cancel in (leave, Scripted.cancel):
        monkeypatch.setattr(Scripted, "cancel", cancel)
        scripted.started.clear()
        execution_id = queue(until_checked)
        thread = in_the_background(execution_id)
        assert scripted.started.wait(PATIENCE_SECONDS)

        lifecycle.cancel(stored(execution_id))
        thread.join(PATIENCE_SECONDS)

        assert stored(execution_id).status == "cancelled"


def test_who_lost_the_lease_stops_and_writes_nothing(
    queue: Queue, scripted: type[Scripted]
) -> None:
    execution_id = queue(until_checked)
    thread = in_the_background(execution_id)
    assert scripted.started.wait(PATIENCE_SECONDS)
    taken_over = uuid4()

    Execution.objects.filter(id=execution_id).update(lease_token=taken_over, heartbeat_at=Now())
    heartbeat.renew()
    thread.join(PATIENCE_SECONDS)

    row = stored(execution_id)
    assert (row.status, row.lease_token) == ("running", taken_over)
    assert scripted.told_to_cancel.is_set()
    assert ErrorRecord.objects.count() == 0


def test_progress_is_stored_and_never_less_than_the_end(queue: Queue) -> None:
    def script(context: Context[Anything]) -> None:
        for done in range(1, 6):
            context.progress(done, 5, step=f"part {done}")

    execution_id = queue(script)

    runner.run([execution_id])

    progress = stored(execution_id).progress
    assert (progress["done"], progress["total"], progress["percent"]) == (5, 5, 100)
    assert progress["current_step"] == "part 5"


def test_no_connection_is_held_while_the_handler_runs(queue: Queue) -> None:
    seen: list[bool] = []

    def script(context: Context[Anything]) -> None:
        seen.append(connection.connection is None)
        context.progress(1, 2)
        seen.append(connection.connection is None)

    runner.run([queue(script)])

    assert seen == [True, True]


def test_progress_that_the_database_does_not_take_harms_no_execution(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(context: Context[Anything]) -> str:
        with monkeypatch.context() as away:
            away.setitem(connection.settings_dict, "NAME", "nowhere")
            context.progress(1, 2)
        return "done"

    execution_id = queue(script)

    runner.run([execution_id])

    assert stored(execution_id).status == "completed"
