"""`manage.py bulk`: one verb for many executions, dead letters, errors or schedules."""

from __future__ import annotations

import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from executions_app import clock
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    acting_user,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    facts,
    moment_of,
    row_count,
    table,
)
from executions_app.states import BulkStatus
from executions_app.wording import iso, moment
from scheduler_app.bulk import operations, shapes
from scheduler_app.bulk.choosing import InvalidChoice
from scheduler_app.bulk.operations import Wanted
from scheduler_app.commands import ScheduleCommand, invalid
from scheduler_app.definition import Problem
from scheduler_app.models import BulkOperation
from scheduler_app.models_bulk import BulkVerb

VERBS: Final[Mapping[BulkVerb, str]] = {
    BulkVerb.CANCEL: "executions that have not ended: cancelled, or asked to stop if they run",
    BulkVerb.RETRY: "executions that were given up: a new budget of attempts, due at once",
    BulkVerb.REQUEUE: "open dead letters: the same for their executions",
    BulkVerb.DISCARD: "open dead letters: let go, readable, never run again",
    BulkVerb.RESOLVE: "errors that are not closed: closed, the cause is gone",
    BulkVerb.IGNORE: "errors that are not closed: closed, they do not matter",
    BulkVerb.PAUSE: "schedules that fire: no fires, with --reason, up to --until or a resume",
    BulkVerb.RESUME: "schedules that are paused or disabled: they fire again from now on",
}
LOOK_AGAIN_SECONDS: Final = 0.5
SHOWN_REFUSALS: Final = 10


class Command(ScheduleCommand):
    help = "One verb for many executions, dead letters, errors or schedules, bit by bit."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        _add_words(verbs.add("create", self.create, help_text="begin one"))
        listing = verbs.add("list", self.list_all, help_text="operations, the newest first")
        listing.add_argument(
            "--status", choices=[str(one) for one in BulkStatus], help="in this state"
        )
        listing.add_argument("--limit", type=row_count, default=50, help="at most so many")
        for name, run, help_text in (
            ("show", self.show, "how far one is, and what was refused"),
            ("abort", self.abort, "leave the rest as it is; what is done stays done"),
        ):
            one = verbs.add(name, run, help_text=help_text)
            one.add_argument("operation", metavar="ID", help="which operation")
            if name == "show":
                _add_waiting(one)
            else:
                add_acting_user(one)

    def problem_of(self, error: BaseException) -> CommandProblem | None:
        if isinstance(error, InvalidChoice):
            return invalid([Problem(error.path, "invalid", error.message)])
        return super().problem_of(error)

    def create(self, options: Options) -> Answer:
        user, wanted = acting_user(options), _wanted(options)
        plan = operations.plan(wanted, user=user)
        if options["dry_run"]:
            rows = ((one["id"], one["name"], one["status"]) for one in plan.first)
            self.say(f"{_number(plan.total, plan.is_total_capped)}, the first of them:")
            document = {"dry_run": True, **asdict(plan)}
            return Answer(document, table("ID", "NAME", "STATUS", rows=rows))
        count = _number(plan.total, plan.is_total_capped)
        self.confirm(f"To {wanted.verb} {count}", options)
        operation = operations.create(wanted, user=user)
        return self._answer(operation, options)

    def list_all(self, options: Options) -> Answer:
        chosen = BulkOperation.objects.order_by("-id")
        if options["status"]:
            chosen = chosen.filter(status=options["status"])
        found = list(chosen[: options["limit"]])
        rows = (
            (one.id, one.verb, _said(one.filter), one.status, one.done, one.refused,
             _number(one.total, one.is_total_capped), iso(one.created_at))
            for one in found
        )  # fmt: skip
        shown = table("ID", "VERB", "FILTER", "IS", "DONE", "REFUSED", "OF", "SINCE", rows=rows)
        return Answer([shapes.operation(one) for one in found], shown)

    def show(self, options: Options) -> Answer:
        return self._answer(_named(options), options)

    def abort(self, options: Options) -> Answer:
        operation = _named(options)
        self.confirm(f"Aborting bulk operation {operation.id}", options)
        return _shown(operations.abort(operation.id, actor=actor(options)))

    def _answer(self, operation: BulkOperation, options: Options) -> Answer:
        """As it is; with `--wait` as it ended."""
        if not options["wait"]:
            return _shown(operation)
        deadline = time.monotonic() + options["timeout"]
        seen = -1
        while operation.status == BulkStatus.RUNNING:
            if operation.done + operation.refused != seen:
                seen = operation.done + operation.refused
                self.say(f"{seen} of {_number(operation.total, operation.is_total_capped)}")
            if time.monotonic() >= deadline:
                message = f"Bulk operation {operation.id} has not ended; it goes on by itself"
                raise TimeoutError(message)
            time.sleep(LOOK_AGAIN_SECONDS)
            operation.refresh_from_db()
        return _shown(operation, Exit.OK if _is_well(operation) else Exit.FAILED)


def _add_words(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        ["verbs:", *(f"  {verb:<8} {help_text}" for verb, help_text in VERBS.items())]
    )
    parser.add_argument("what", metavar="VERB", choices=[*VERBS], help="one of those below")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="rows that the filters of the list choose, such as error_class=timeout",
    )
    parser.add_argument("--all", action="store_true", help="every row of the list")
    parser.add_argument("--note", default="", help="why, for whoever reads it later")
    parser.add_argument("--reason", default="", help="of a pause: why, as the schedule shows it")
    parser.add_argument("--until", metavar="ISO", help="of a pause: it ends by itself then")
    parser.add_argument("--dry-run", action="store_true", help="only say for which rows")
    add_acting_user(parser)
    _add_waiting(parser)


def _add_waiting(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="until it has ended")
    parser.add_argument(
        "--timeout", type=float, default=3600.0, metavar="SECONDS", help="of --wait (3600)"
    )


def _wanted(options: Options) -> Wanted:
    return Wanted(
        BulkVerb(options["what"]),
        dict(_pairs(options["filter"])),
        takes_all=options["all"],
        note=options["note"],
        reason=options["reason"],
        until=moment_of(options["until"], field="until") if options["until"] else None,
    )


def _pairs(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidChoice(("filter",), f"{text!r} is no filter; write NAME=VALUE")
        yield name, value


def _named(options: Options) -> BulkOperation:
    """The operation of an id; raises CommandProblem."""
    reference = options["operation"]
    as_id = as_uuid(reference)
    found = as_id and BulkOperation.objects.filter(id=as_id).first()
    if not found:
        todo = "`manage.py bulk list` shows what there is"
        raise CommandProblem(f"There is no bulk operation {reference!r}", todo, Exit.NOT_FOUND)
    return found


def _shown(operation: BulkOperation, code: Exit = Exit.OK) -> Answer:
    now = clock.now()
    total = _number(operation.total, operation.is_total_capped)
    shown: dict[str, Any] = {
        "id": operation.id,
        "verb": operation.verb,
        "filter": _said(operation.filter),
        "status": operation.status,
        "why": operation.detail,
        "done": f"{operation.done} of {total}",
        "refused": operation.refused,
        "begun": moment(operation.created_at, now=now),
        "ended": moment(operation.ended_at, now=now),
    }
    for one in operation.refusals[:SHOWN_REFUSALS]:
        shown[one["id"]] = one["detail"]
    return Answer(shapes.operation(operation), facts(shown), code)


def _is_well(operation: BulkOperation) -> bool:
    return operation.status == BulkStatus.COMPLETED and not operation.refused


def _number(total: int, is_capped: Any) -> str:
    return f"{total}+" if is_capped else str(total)


def _said(words: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in words.items()) or "all"
