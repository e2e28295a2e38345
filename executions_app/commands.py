"""The terminal's door to everything an execution passes: what all `manage.py` commands share.

A verb answers an Answer; with `--json` its document is the one thing on stdout, else its text is.
What goes wrong is a CommandProblem: two lines on stderr (what, and what to do), an exit code of
`Exit`, and with `--json` also `{"error": {...}}` as the one document on stdout.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console, RenderableType
from rich.table import Table

from executions_app.audit import Actor
from executions_app.command_problems import CommandProblem, Exit, problem_of
from executions_app.ids import as_uuid as as_uuid
from executions_app.models import Execution

Options = dict[str, Any]
MOST_ROWS: Final = 10_000
NEVER_WRAPPED: Final = 10_000  # columns of a table that goes into a file or a pipe


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb says: `document` for machines, `text` for people."""

    document: Any
    text: RenderableType = ""
    exit_code: Exit = Exit.OK


Run = Callable[[Options], Answer]


class Verbs:
    """The verbs of a command: each has a parser of its own and the method that carries it out."""

    def __init__(self, parser: ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(self, name: str, run: Run, *, help_text: str) -> ArgumentParser:
        parser: ArgumentParser = self._parsers.add_parser(
            name, help=help_text, description=help_text
        )
        add_common_options(parser, default=SUPPRESS)
        parser.set_defaults(run=run)
        return parser

    def add_about_one(
        self, verbs: Iterable[tuple[str, Run, str]], *, what: str, metavar: str
    ) -> None:
        """Verbs (name, method, help), each about one `what` that is named."""
        for name, run, help_text in verbs:
            one = self.add(name, run, help_text=help_text)
            one.add_argument(what, metavar=metavar, help=f"which {what}")
            add_acting_user(one)


class DoorCommand(BaseCommand):
    """A command whose verbs answer; `run` in the parsed options is the verb that was chosen."""

    requires_system_checks = []

    def handle(self, *_args: Any, **options: Any) -> None:
        run: Run = options["run"]
        try:
            answer = run(options)
            self._show(answer, options)
        except BrokenPipeError:
            self._give_up_on_the_pipe()
        except (Exception, KeyboardInterrupt) as error:
            problem = self.problem_of(error)
            if problem is None:
                raise
            self._tell(problem, options)
            sys.exit(problem.exit_code)
        if answer.exit_code:
            sys.exit(answer.exit_code)

    def problem_of(self, error: BaseException) -> CommandProblem | None:
        """What an exception means to the caller; None for one that nobody foresaw."""
        return problem_of(error)

    def say(self, text: str) -> None:
        """A line of progress, on stderr."""
        self.stderr.write(text, self.style.NOTICE if self.stderr.isatty() else str)

    def emit(self, document: Mapping[str, Any]) -> None:
        """One line of a stream (NDJSON), at once."""
        self.stdout.write(json.dumps(document, cls=DjangoJSONEncoder))
        self.stdout.flush()

    def confirm(self, question: str, options: Options) -> None:
        """Ask before an act that cannot be undone, unless `--yes`; raises CommandProblem."""
        if options["yes"]:
            return
        todo = "Add --yes to do it without being asked"
        if not sys.stdin.isatty():
            raise CommandProblem(f"{question} was not confirmed", todo, Exit.REFUSED)
        self.stderr.write(f"{question}? [y/N] ", ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CommandProblem("Nothing was done: you did not say yes", todo, Exit.REFUSED)

    def _show(self, answer: Answer, options: Options) -> None:
        if options["json"]:
            if answer.document is not None:
                self.stdout.write(json.dumps(answer.document, cls=DjangoJSONEncoder, indent=2))
        elif answer.text:
            self.console().print(answer.text)

    def console(self) -> Console:
        """Where text for people goes: as wide as the terminal, never wrapped elsewhere."""
        width = None if self.stdout.isatty() else NEVER_WRAPPED
        # Django's OutputWrapper is a text stream to all who use one.
        return Console(file=self.stdout, width=width, highlight=False, markup=False)  # type: ignore[arg-type]

    def _tell(self, problem: CommandProblem, options: Options) -> None:
        self.stderr.write(problem.what)
        self.stderr.write(problem.todo)
        if options["json"]:
            self.stdout.write(json.dumps(problem.document(), cls=DjangoJSONEncoder, indent=2))

    def _give_up_on_the_pipe(self) -> None:
        # Whoever read the output has seen enough; Python must not complain while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)


def add_common_options(parser: ArgumentParser, *, default: Any = False) -> None:
    """`--json` and `--yes`, which every command and every verb takes."""
    for name, help_text in (
        ("--json", "machine-readable: one JSON document on stdout (one per line for streams)"),
        ("--yes", "do not ask before what cannot be undone"),
    ):
        parser.add_argument(name, action="store_true", default=default, help=help_text)


def add_acting_user(parser: ArgumentParser) -> None:
    """`--user`: who acts, for the audit log."""
    parser.add_argument("--user", metavar="NAME", help="who acts (default: the first superuser)")


def acting_user(options: Options) -> User:
    """The account named by `--user`, else the first superuser; raises CommandProblem."""
    if options.get("user"):
        return user_named(options["user"])
    first = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk")
    found: User | None = first.first()
    if found is None:
        raise CommandProblem(
            "There is no administrator yet",
            "Run `manage.py first_admin`, or name an account with --user",
            Exit.REFUSED,
        )
    return found


def user_named(name: str) -> User:
    """The account of that name; raises CommandProblem."""
    found: User | None = get_user_model().objects.filter(username=name).first()
    if found is None:
        todo = "Create the account in the admin, or name another one"
        raise CommandProblem(f"There is no user {name!r}", todo, Exit.NOT_FOUND)
    return found


def actor(options: Options) -> Actor:
    """Who acts, for the audit log."""
    return Actor.of(acting_user(options))


def execution_named(reference: str) -> Execution:
    """The execution of a number (`7`, `#7`) or an id; raises CommandProblem."""
    number = reference.removeprefix("#")
    if number.isdecimal() and len(number) <= 18:
        found = Execution.objects.filter(number=int(number)).first()
    else:
        as_id = as_uuid(reference)
        found = Execution.objects.filter(id=as_id).first() if as_id else None
    if found is None:
        todo = "`manage.py execution list` shows what there is"
        raise CommandProblem(f"There is no execution {reference!r}", todo, Exit.NOT_FOUND)
    return found


def moment_of(text: str, *, field: str) -> datetime:
    """An ISO 8601 instant, in UTC where it names no offset; raises CommandProblem."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not an ISO 8601 instant such as 2026-12-01T09:00:00Z"
        raise CommandProblem(
            f"{field}: {message}", "Correct it and repeat", Exit.USAGE, fields={field: message}
        ) from None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def row_count(text: str) -> int:
    """The value of `--limit`: how many rows a list shows, 1 to 10,000."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ROWS:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_ROWS}")
    return int(text)


def table(*columns: str, rows: Iterable[Iterable[object]]) -> Table:
    """A compact table, each cell on one line."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        shown.add_column(column, no_wrap=True)
    for row in rows:
        shown.add_row(*(one_line(cell) for cell in row))
    return shown


def one_line(cell: object) -> str:
    """The text of a cell, without the line breaks and control characters of foreign texts."""
    text = "-" if cell is None or cell == "" else str(cell)
    return "".join(char if char.isprintable() else " " for char in text)


def facts(pairs: Mapping[str, object]) -> Table:
    """A name and a value per line."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for name, value in pairs.items():
        shown.add_row(name, one_line(value))
    return shown
