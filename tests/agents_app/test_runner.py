"""One execution in a worker: its outcome is recorded once, whatever its handler does."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.models.functions import Now
from psycopg.pq import TransactionStatus

from agents_app import connections, runner
from agents_app.handlers.base import Context
from agents_app.heartbeat import heartbeat
from agents_app.tasks import run_executions
from errors_app import rescuer
from errors_app.models import ErrorRecord
from executions_app import lifecycle
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from tests.agents_app.scripted import (
    PATIENCE_SECONDS,
    Anything,
    Queue,
    Scripted,
    in_the_background,
    stored,
    until_checked,
)

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_no_pooled_connection_is_held_while_the_handler_runs(
    queue: Queue, pooled: DatabaseWrapper
) -> None:
    seen: list[bool] = []

    def script(context: Context[Anything]) -> None:
        seen.append(pooled.connection is None)
        context.progress(1, 2)
        seen.append(pooled.connection is None)

    runner.run([queue(script)])

    assert seen == [True, True]


def test_a_process_with_one_thread_keeps_its_connection_and_no_transaction(queue: Queue) -> None:
    seen: list[tuple[object, object]] = []

    def script(context: Context[Anything]) -> None:
        context.progress(1, 2)
        driver = connection.connection
        seen.append((driver, driver.info.transaction_status))

    runner.run([queue(script), queue(script)])

    assert seen == [(connection.connection, TransactionStatus.IDLE)] * 2


def test_a_connection_that_broke_while_nobody_used_it_costs_no_execution(queue: Queue) -> None:
    execution_id = queue(lambda _: "done")
    broken = connection.connection
    with psycopg.connect(broken.info.dsn, password=broken.info.password, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [broken.info.backend_pid])

    connections.after_message()
    run_executions(execution_ids=[str(execution_id)])

    assert stored(execution_id).status == "completed"


def test_an_execution_that_runs_twice_in_one_process_keeps_only_its_later_lease(
    queue: Queue,
) -> None:
    execution_id = queue(until_checked, max_retries=3)
    earlier = in_the_background(execution_id)
    assert Scripted.started.wait(PATIENCE_SECONDS)
    rescuer.release(execution_id, actor=SYSTEM, rng=Random(0))
    Execution.objects.update(status="queued")

    def outlive_the_earlier(_: Context[Anything]) -> None:
        heartbeat.renew()
        earlier.join(PATIENCE_SECONDS)

    Scripted.script = staticmethod(outlive_the_earlier)

    assert runner.run([execution_id]) == 1

    assert not earlier.is_alive()
    assert (stored(execution_id).status, stored(execution_id).attempt) == ("completed", 2)


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
