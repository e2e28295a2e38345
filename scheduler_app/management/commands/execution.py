"""`manage.py execution`: what ran, why it is where it is, its log; cancel and retry."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Final
from uuid import UUID

from errors_app import handling, history
from errors_app.commands import add_parameters, edited
from executions_app import clock, lifecycle, shapes
from executions_app.api.filters import held
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    execution_named,
    facts,
    one_line,
    row_count,
    table,
    user_named,
)
from executions_app.models import Execution
from executions_app.states import TERMINAL, ExecutionStatus
from executions_app.wording import iso, moment, usage
from scheduler_app import explained
from scheduler_app.commands import ScheduleCommand, schedule_named

LOOK_AGAIN_SECONDS: Final = 0.5
INDENT: Final = " " * 22


class Command(ScheduleCommand):
    help = "Look at executions, follow, cancel and retry them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="executions, the newest first")
        listing.add_argument("--status", choices=[str(one) for one in ExecutionStatus])
        listing.add_argument("--schedule", metavar="NAME|ID")
        listing.add_argument(
            "--held-by", metavar="PREFIX", help="what holds it begins so: limit:, rate:, unique:"
        )
        listing.add_argument("--limit", type=row_count, default=50)
        add_acting_user(listing)
        for name, run, help_text in (
            ("show", self.show, "why it is where it is, and everything about it"),
            ("logs", self.logs, "its events, attempts and errors in order"),
            ("cancel", self.cancel, "never start it, or ask it to stop"),
            (
                "retry",
                self.retry,
                "give a failed one a new budget, due at once; an agent's goes on from failed steps",
            ),
        ):
            one = verbs.add(name, run, help_text=help_text)
            one.add_argument("execution", metavar="NUMBER|ID")
            add_acting_user(one)
            if name == "logs":
                one.add_argument("-f", "--follow", action="store_true", help="until it has ended")
            if name == "retry":
                add_parameters(one)

    def list_all(self, options: Options) -> Answer:
        chosen = Execution.objects.order_by("-id")
        if options["status"]:
            chosen = chosen.filter(status=options["status"])
        if options["schedule"]:
            user = user_named(options["user"]) if options["user"] else None
            chosen = chosen.filter(schedule_id=schedule_named(options["schedule"], user=user).id)
        if options["held_by"] is not None:
            chosen = held(chosen, options["held_by"])
        found, now = list(chosen[: options["limit"]]), clock.now()
        rows = (
            (
                f"#{one.number}",
                one.snapshot.get("name"),
                one.trigger,
                one.status,
                one.outcome,
                f"{one.attempt}/{one.max_attempts}",
                moment(one.completed_at or one.started_at or one.due_at, now=now),
            )
            for one in found
        )
        shown = table("NO", "NAME", "TRIGGER", "STATUS", "OUTCOME", "TRY", "WHEN", rows=rows)
        return Answer([shapes.execution(one) for one in found], shown)

    def show(self, options: Options) -> Answer:
        return self._answer(execution_named(options["execution"]))

    def logs(self, options: Options) -> Answer:
        execution = execution_named(options["execution"])
        seen: set[UUID] = set()
        self._tell_new_lines(execution.id, seen, options)
        while options["follow"] and execution.status not in TERMINAL:
            time.sleep(LOOK_AGAIN_SECONDS)
            execution.refresh_from_db(fields=["status"])
            self._tell_new_lines(execution.id, seen, options)
        return Answer(None)

    def cancel(self, options: Options) -> Answer:
        execution = execution_named(options["execution"])
        lifecycle.cancel(execution, actor=actor(options))
        return self._answer(execution_named(str(execution.id)))

    def retry(self, options: Options) -> Answer:
        execution = execution_named(options["execution"])
        handling.requeue_execution(execution, actor=actor(options), **edited(options))
        return self._answer(execution_named(str(execution.id)))

    def _tell_new_lines(self, execution_id: UUID, seen: set[UUID], options: Options) -> None:
        for line in history.lines(execution_id, seen=seen):
            seen.add(line.id)
            if options["json"]:
                self.emit(asdict(line))
                continue
            said = ", ".join(f"{name}={value}" for name, value in line.data.items())
            self.stdout.write(one_line(f"{iso(line.at)}  {line.type}  {said}"))
            for stack_line in line.detail.splitlines():
                self.stdout.write(f"{INDENT}{one_line(stack_line)}")
        self.stdout.flush()

    def _answer(self, execution: Execution) -> Answer:
        now = clock.now()
        why = explained.why(execution, now=now)
        shown = {
            "execution": f"#{execution.number} {execution.id}",
            "why": why,
            "name": execution.snapshot.get("name"),
            "task type": execution.snapshot.get("task_type"),
            "status": f"{execution.status} {execution.outcome}".strip(),
            "trigger": execution.trigger,
            "planned": moment(execution.nominal_at, now=now),
            "queued": moment(execution.queued_at, now=now),
            "started": moment(execution.started_at, now=now),
            "ended": moment(execution.completed_at, now=now),
            "parameters": execution.parameters,
            "result": execution.result,
            "took": usage(execution.usage) if execution.usage else "-",
        }
        return Answer({**shapes.execution(execution), "why": why}, facts(shown))
