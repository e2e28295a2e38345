"""Bulk operations: every chosen row once, whatever dies, moves or is born meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from errors_app.models import DeadLetter, ErrorRecord
from executions_app import clock, ids, lifecycle, retention
from executions_app.audit import SYSTEM, Actor
from executions_app.models import AuditEntry, Event, Execution
from executions_app.states import BulkStatus, ExecutionStatus, IllegalMove
from scheduler_app import dispatcher, schedules
from scheduler_app.beat import BULK_REST_SECONDS, Metronome
from scheduler_app.bulk import advance, choosing, operations
from scheduler_app.bulk.choosing import InvalidChoice
from scheduler_app.bulk.operations import Wanted
from scheduler_app.limiting import limits, limits_in_force
from scheduler_app.models import BulkOperation, Schedule
from scheduler_app.models_bulk import BulkVerb
from tests.factories import ExecutionFactory, UserFactory
from tests.scheduler_app.ruins import given_up

MakeSchedule = Callable[..., Schedule]
MOST_STATEMENTS = 200
pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """The process is gone."""


def begin(user: User, verb: str, *, takes_all: bool = False, **filters: str) -> BulkOperation:
    wanted = Wanted(BulkVerb(verb), filters, takes_all=takes_all or not filters)
    return operations.create(wanted, user=user)


def run_to_the_end() -> None:
    """As beats would; each call of `advance` is bounded, so their number is."""
    for _ in range(1_000):
        if not advance.advance():
            return
    raise AssertionError("it does not end")


def ended(operation: BulkOperation) -> tuple[str, int, int]:
    run_to_the_end()
    operation.refresh_from_db()
    return operation.status, operation.done, operation.refused


def handlings() -> Counter[str]:
    return Counter(DeadLetter.objects.values_list("handling", flat=True))


def statuses() -> Counter[str]:
    return Counter(Execution.objects.values_list("status", flat=True))


def test_all_dead_letters_are_requeued_with_a_budget_each(owner: User) -> None:
    given_up(owner, 3, max_retries=1)
    given_up(owner, 2, max_retries=5)

    operation = begin(owner, "requeue")

    assert (operation.total, operation.is_total_capped) == (5, False)
    assert ended(operation) == ("completed", 5, 0)
    assert handlings() == {"requeued": 5}
    budgets = Execution.objects.values_list("status", "attempt", "max_attempts")
    assert Counter(budgets) == {("pending", 4, 6): 3, ("pending", 4, 10): 2}


def test_what_is_requeued_is_admitted_by_the_limits(owner: User) -> None:
    given_up(owner, 9)
    limits.put(limits.parse({"key": "task:noop", "max_concurrent": 2}), actor=SYSTEM)
    limits_in_force.forget()

    ended(begin(owner, "requeue"))
    dispatcher.release_due()

    assert statuses() == {"queued": 2, "pending": 7}
    limits_in_force.forget()


def test_letters_that_are_let_go_are_never_run_again(owner: User) -> None:
    given_up(owner, 2)

    assert ended(begin(owner, "discard")) == ("completed", 2, 0)

    assert handlings() == {"discarded": 2}
    assert statuses() == {"failed": 2}
    assert not Execution.objects.filter(discarded_at=None).exists()


def test_executions_are_retried_by_the_filters_of_their_list(owner: User) -> None:
    chosen, other = given_up(owner), given_up(owner)
    Execution.objects.filter(id=other[0].execution_id).update(priority="low")

    assert ended(begin(owner, "retry", priority="normal")) == ("completed", 1, 0)

    assert DeadLetter.objects.get(handling="requeued").id == chosen[0].id


def test_a_failed_execution_without_an_open_letter_is_refused(owner: User) -> None:
    (letter,) = given_up(owner)
    operation = begin(owner, "retry")
    DeadLetter.objects.filter(id=letter.id).delete()

    assert ended(operation) == ("completed", 0, 1)
    assert "no open dead letter" in operation.refusals[0]["detail"]


def test_rows_that_leave_the_filter_while_it_runs_are_no_trouble(owner: User) -> None:
    for _ in range(7):
        ExecutionFactory.create(owner=owner)
    operation = begin(owner, "cancel", status="queued")

    with pages_of(2):
        assert ended(operation) == ("completed", 7, 0)

    assert statuses() == {"cancelled": 7}


def test_what_runs_is_asked_to_stop_and_what_waits_is_cancelled(owner: User) -> None:
    ExecutionFactory.create(owner=owner)
    running = ExecutionFactory.create(owner=owner, status=ExecutionStatus.RUNNING)

    assert ended(begin(owner, "cancel")) == ("completed", 2, 0)

    assert statuses() == {"cancelled": 1, "running": 1}
    running.refresh_from_db()
    assert running.cancel_requested_at is not None


def test_what_was_asked_to_stop_is_not_asked_again(owner: User) -> None:
    running = ExecutionFactory.create(owner=owner, status=ExecutionStatus.RUNNING)
    assert ended(begin(owner, "cancel")) == ("completed", 1, 0)
    running.refresh_from_db()
    asked_at = running.cancel_requested_at

    again = begin(owner, "cancel")
    how_it_ended = ended(again)

    running.refresh_from_db()
    again.refresh_from_db()
    assert how_it_ended == ("completed", 0, 1)
    assert [one["detail"] for one in again.refusals] == ["it has been asked to stop already"]
    assert running.cancel_requested_at == asked_at
    assert AuditEntry.objects.filter(action="execution.cancelled").count() == 1
    assert Event.objects.filter(type="execution:cancel_requested").count() == 1


@pytest.mark.parametrize(("verb", "status"), [("resolve", "resolved"), ("ignore", "ignored")])
def test_errors_are_decided_about(owner: User, verb: str, status: str) -> None:
    given_up(owner, 3, error_class="timeout")
    given_up(owner, 1)

    assert ended(begin(owner, verb, error_class="timeout")) == ("completed", 3, 0)

    decided = ErrorRecord.objects.filter(recovery_status=status)
    assert set(decided.values_list("error_class", "handled_by_id")) == {("timeout", owner.pk)}
    assert Event.objects.filter(type="error:updated").count() == 3


def test_schedules_are_paused_with_their_reason_and_resumed(
    owner: User, make_schedule: MakeSchedule
) -> None:
    slow = [make_schedule(name, priority="low", **WEB) for name in "ab"]
    make_schedule("c")
    until = clock.now() + timedelta(hours=1)
    wanted = Wanted(BulkVerb.PAUSE, {"priority": "low"}, reason="night", until=until)

    assert ended(operations.create(wanted, user=owner)) == ("completed", 2, 0)
    paused = Schedule.objects.filter(pause_reason="night", paused_until=until)
    assert set(paused.values_list("id", flat=True)) == {one.id for one in slow}

    assert ended(begin(owner, "resume", pause_reason="night")) == ("completed", 2, 0)
    assert not Schedule.objects.exclude(paused_until=None).exists()


WEB = {"task_type": "http_request", "task_config": {"url": "http://127.0.0.1:1/"}}


def test_who_may_not_have_it_executed_is_refused_for_each_schedule(
    owner: User, make_schedule: MakeSchedule
) -> None:
    shell = make_schedule("shell", enabled=False)
    make_schedule("web", enabled=False, **WEB)

    operation = begin(owner, "resume")

    assert ended(operation) == ("completed", 1, 1)
    assert operation.refusals[0]["id"] == str(shell.id)
    assert "Only operators" in operation.refusals[0]["detail"]


@pytest.mark.django_db(transaction=True)
def test_what_is_born_later_is_left_alone(owner: User) -> None:
    given_up(owner, 2)
    operation = begin(owner, "requeue")
    born = given_up(owner, 3)

    assert ended(operation) == ("completed", 2, 0)
    assert not DeadLetter.objects.filter(id__in=[one.id for one in born]).exclude(handling="")


def test_rows_of_others_are_not_chosen(owner: User) -> None:
    given_up(UserFactory.create(), 2)

    operation = begin(owner, "requeue")

    assert (operation.total, *ended(operation)) == (0, "completed", 0, 0)
    assert handlings() == {"": 2}


def test_an_administrator_who_is_none_any_more_moves_only_what_is_theirs() -> None:
    root = User.objects.create_superuser("root")
    given_up(root, 1)
    given_up(UserFactory.create(), 2)
    operation = begin(root, "requeue")
    User.objects.filter(pk=root.pk).update(is_superuser=False)

    assert (operation.total, *ended(operation)) == (3, "completed", 1, 0)


def test_who_becomes_an_administrator_meanwhile_moves_no_more_than_before(owner: User) -> None:
    given_up(owner, 1)
    given_up(UserFactory.create(), 2)
    operation = begin(owner, "requeue")
    User.objects.filter(pk=owner.pk).update(is_superuser=True)

    assert ended(operation) == ("completed", 1, 0)


@pytest.mark.parametrize("verb", ["requeue", "pause"])
def test_an_account_that_is_switched_off_ends_its_operations(owner: User, verb: str) -> None:
    given_up(owner, 2)
    operation = begin(owner, verb)
    User.objects.filter(pk=owner.pk).update(is_active=False)

    assert ended(operation) == ("aborted", 0, 0)
    assert "not active" in operation.detail
    assert handlings() == {"": 2}


def test_an_abort_leaves_the_rest_as_it_is(owner: User) -> None:
    given_up(owner, 5)
    operation = begin(owner, "requeue")
    with pages_of(2):
        advance.advance()

    operations.abort(operation.id, actor=Actor.of(owner), note="wrong filter")

    assert ended(operation) == ("aborted", 2, 0)
    assert (handlings(), operation.detail) == ({"requeued": 2, "": 3}, "wrong filter")
    with pytest.raises(IllegalMove):
        operations.abort(operation.id, actor=Actor.of(owner))


def test_an_error_that_would_come_again_ends_it_and_no_other(owner: User) -> None:
    given_up(owner, 2)
    corrupt, sound = begin(owner, "requeue"), begin(owner, "requeue")
    BulkOperation.objects.filter(id=corrupt.id).update(filter={"colour": "red"})

    run_to_the_end()

    corrupt.refresh_from_db()
    assert (corrupt.status, corrupt.done) == ("failed", 0)
    assert "no such filter" in corrupt.detail
    assert ended(sound) == ("completed", 2, 0)


@pytest.mark.django_db(transaction=True)
def test_two_operations_on_the_same_rows_share_them(owner: User) -> None:
    given_up(owner, 6)
    both = [begin(owner, "requeue"), begin(owner, "discard")]

    with pages_of(2):
        run_to_the_end()

    for one in both:
        one.refresh_from_db()
    assert sum(one.done for one in both) == 6
    assert handlings()["requeued"] == both[0].done > 0
    assert handlings()["discarded"] == both[1].done > 0


def test_each_act_is_audited_and_so_is_the_operation(owner: User) -> None:
    letters = given_up(owner, 2)
    operation = begin(owner, "requeue")
    run_to_the_end()

    entries = AuditEntry.objects.filter(action="dead_letter.requeued")
    assert {one.object_id for one in entries} == {str(one.id) for one in letters}
    assert {one.actor for one in entries} == {"owner"}
    assert {(one.after or {})["bulk_operation"] for one in entries} == {str(operation.id)}
    own = AuditEntry.objects.filter(object_id=str(operation.id))
    assert {one.action for one in own} == {"bulk.created", "bulk.completed"}


def test_its_progress_is_told_once_a_page(owner: User) -> None:
    given_up(owner, 5)
    begin(owner, "requeue")

    with pages_of(2):
        run_to_the_end()

    told = Event.objects.filter(type="bulk:progress").order_by("id")
    facts = [(one.data["status"], one.data["done"]) for one in told]
    assert facts == [("running", 0), ("running", 2), ("running", 4), ("completed", 5)]
    assert {one.owner_id for one in told} == {owner.pk}


def test_only_so_many_refusals_are_kept(owner: User) -> None:
    given_up(owner, advance.MOST_REFUSALS + 7)
    operation = begin(owner, "retry")
    DeadLetter.objects.all().delete()

    assert ended(operation) == ("completed", 0, advance.MOST_REFUSALS + 7)
    assert len(operation.refusals) == advance.MOST_REFUSALS


@pytest.mark.django_db(transaction=True)
def test_a_filter_without_an_index_looks_through_so_many_rows_at_a_time(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "LOOKED_THROUGH", 3)
    monkeypatch.setattr(choosing, "COUNTED_AMONG", 4)
    given_up(owner, 8)
    last = given_up(owner, 1, error_class="timeout")

    operation = begin(owner, "requeue", error_class="timeout")
    advance.advance()
    operation.refresh_from_db()
    seen = DeadLetter.objects.filter(id__lte=operation.cursor or UUID(int=0)).count()

    assert (operation.total, operation.is_total_capped, seen) == (0, True, 3)
    assert ended(operation) == ("completed", 1, 0)
    assert DeadLetter.objects.get(handling="requeued").id == last[0].id


@pytest.mark.parametrize("verb", ["requeue", "retry", "discard", "resolve", "cancel"])
def test_a_page_costs_as_many_statements_for_few_rows_as_for_many(owner: User, verb: str) -> None:
    def cost(number: int) -> int:
        given_up(owner, number)
        for _ in range(number if verb == "cancel" else 0):
            ExecutionFactory.create(owner=owner)
        begin(owner, verb)
        with CaptureQueriesContext(connection) as captured:
            run_to_the_end()
        return len(captured)

    few, many = cost(2), cost(30)

    assert few == many
    assert few < 30


def test_where_none_runs_it_costs_one_statement(
    owner: User, django_assert_num_queries: Callable[..., Any]
) -> None:
    ended(begin(owner, "requeue"))

    with django_assert_num_queries(1):
        assert not advance.advance()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["requeue", "cancel"])
def test_a_beat_killed_between_any_two_statements_leaves_counts_true(
    owner: User, verb: str
) -> None:
    makers: dict[str, Callable[[], object]] = {
        "requeue": partial(given_up, owner, 3),
        "cancel": partial(three_queued, owner),
    }
    action = {"requeue": "dead_letter.requeued", "cancel": "execution.cancelled"}[verb]
    killed_at = 1
    while True:
        makers[verb]()
        operation, audited = begin(owner, verb), AuditEntry.objects.filter(action=action).count()
        was_killed = kill_at(killed_at)
        assert ended(operation) == ("completed", 3, 0)
        assert AuditEntry.objects.filter(action=action).count() == audited + 3
        if not was_killed:
            break
        killed_at += 1

    assert killed_at > 10


@pytest.mark.django_db(transaction=True)
def test_a_beat_killed_while_it_pauses_leaves_counts_true(
    owner: User, make_schedule: MakeSchedule
) -> None:
    made = [make_schedule(name) for name in "abc"]
    for killed_at in range(1, MOST_STATEMENTS, 3):
        operation = begin(owner, "pause")
        was_killed = kill_at(killed_at)
        assert ended(operation) == ("completed", 3, 0)
        assert not Schedule.objects.filter(enabled=True).exists()
        for one in made:
            schedules.resume(one.id, actor=SYSTEM)
        if not was_killed:
            break

    assert killed_at > 20


def three_queued(owner: User) -> None:
    for _ in range(3):
        ExecutionFactory.create(owner=owner)


def kill_at(statement: int) -> bool:
    """Carry operations on until the process dies before its n-th statement; False if it did not."""
    left = iter(range(statement - 1))

    def execute(run: Callable[..., Any], *arguments: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return run(*arguments)

    try:
        with connection.execute_wrapper(execute):
            run_to_the_end()
    except Killed:
        return True
    return False


@pytest.mark.django_db(transaction=True)
def test_what_starts_between_the_look_and_the_lock_is_refused(owner: User) -> None:
    first, second = (ExecutionFactory.create(owner=owner) for _ in range(2))
    operation = begin(owner, "cancel", status="queued")

    with before_the_lock(lambda: lifecycle.claim([first.id], worker_id="worker-host:1:1")):
        assert ended(operation) == ("completed", 1, 1)

    first.refresh_from_db()
    assert operation.refusals == [{"id": str(first.id), "detail": "it is running by now"}]
    assert (first.status, first.cancel_requested_at) == ("running", None)
    assert Execution.objects.get(id=second.id).status == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_several_beats_at_once_do_each_row_once(owner: User) -> None:
    given_up(owner, 60)
    operation = begin(owner, "requeue")

    def beat(_: int) -> None:
        try:
            for _ in range(30):
                advance.advance()
        finally:
            connection.close()

    with pages_of(5), ThreadPoolExecutor(4) as beats:
        list(beats.map(beat, range(4)))

    assert ended(operation) == ("completed", 60, 0)
    assert AuditEntry.objects.filter(action="dead_letter.requeued").count() == 60
    assert AuditEntry.objects.filter(action="bulk.completed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_several_beats_at_once_pause_each_schedule_once(
    owner: User, make_schedule: MakeSchedule
) -> None:
    for number in range(12):
        make_schedule(f"schedule-{number}")
    operation = begin(owner, "pause")

    def beat(_: int) -> None:
        try:
            for _ in range(10):
                advance.advance()
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as beats:
        list(beats.map(beat, range(3)))

    assert ended(operation) == ("completed", 12, 0)
    assert AuditEntry.objects.filter(action="schedule.updated").count() == 12


@pytest.mark.django_db(transaction=True)
def test_a_beat_carries_it_on_page_after_page(owner: User) -> None:
    given_up(owner, 5)
    operation = begin(owner, "requeue")
    metronome = Metronome()

    with pages_of(2):
        rests = [metronome.beat() for _ in range(2)]
        for _ in range(20):
            metronome.beat()

    operation.refresh_from_db()
    assert (operation.status, operation.done) == ("completed", 5)
    assert max(rests) <= BULK_REST_SECONDS


def test_a_plan_touches_nothing_and_names_the_first(owner: User) -> None:
    letters = given_up(owner, operations.SHOWN + 3)

    plan = operations.plan(Wanted(BulkVerb.REQUEUE, takes_all=True), user=owner)

    assert (plan.total, plan.is_total_capped) == (operations.SHOWN + 3, False)
    assert [one["id"] for one in plan.first] == [one.id for one in letters[: operations.SHOWN]]
    assert not BulkOperation.objects.exists()
    assert handlings() == {"": operations.SHOWN + 3}


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (Wanted(BulkVerb.CANCEL), ("filter",)),
        (Wanted(BulkVerb.CANCEL, {"status": "queued"}, takes_all=True), ("all",)),
        (Wanted(BulkVerb.CANCEL, {"colour": "red"}), ("filter", "colour")),
        (Wanted(BulkVerb.CANCEL, {"status": "gone"}), ("filter", "status")),
        (Wanted(BulkVerb.CANCEL, {"status": ""}), ("filter", "status")),
        (Wanted(BulkVerb.CANCEL, {"status": ","}), ("filter", "status")),
        (Wanted(BulkVerb.CANCEL, {"search": " "}), ("filter", "search")),
        (Wanted(BulkVerb.REQUEUE, {"status": "failed"}), ("filter", "status")),
        (Wanted(BulkVerb.CANCEL, takes_all=True, reason="night"), ("reason",)),
        (Wanted(BulkVerb.PAUSE, takes_all=True, until=ids.instant(UUID(int=0))), ("until",)),
    ],
    ids=str,
)
def test_what_makes_no_choice_is_named_and_nothing_begins(
    owner: User, wanted: Wanted, path: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidChoice) as refused:
        operations.create(wanted, user=owner)

    assert refused.value.path == path
    assert not BulkOperation.objects.exists()


def test_old_operations_go_and_what_runs_stays(owner: User) -> None:
    done, running = begin(owner, "requeue"), begin(owner, "requeue")
    operations.abort(done.id, actor=SYSTEM)
    long_ago = clock.now() - retention.KEPT - timedelta(days=2)
    for one, changes in ((done, {"ended_at": long_ago}), (running, {})):
        old = {"id": ids.new(long_ago), "created_at": long_ago, **changes}
        BulkOperation.objects.filter(id=one.id).update(**old)

    retention.apply(clock.now())

    assert BulkOperation.objects.get().status == BulkStatus.RUNNING


@contextmanager
def pages_of(size: int) -> Iterator[None]:
    """Meanwhile a page is so short."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(advance, "PAGE", size)
        yield


@contextmanager
def before_the_lock(act: Callable[[], object]) -> Iterator[None]:
    """Somebody acts after the rows were chosen, before they are held: once."""
    acts = iter([act])

    def alone(one: Callable[[], object]) -> None:
        try:
            one()
        finally:
            connection.close()

    def execute(run: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        if "FOR UPDATE" in sql and "task_executions" in sql:
            for one in acts:
                with ThreadPoolExecutor(1) as other:
                    other.submit(alone, one).result()
        return run(sql, *arguments)

    with connection.execute_wrapper(execute):
        yield
