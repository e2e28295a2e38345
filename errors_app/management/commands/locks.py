"""`manage.py locks`: the leases of running executions; end one by hand."""

from __future__ import annotations

import random
from argparse import ArgumentParser

from rich.console import Group

from errors_app import rescuer
from executions_app import clock, shapes
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    execution_named,
    row_count,
    table,
)
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from executions_app.wording import moment, why


class Command(DoorCommand):
    help = "The leases that workers hold on running executions."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="leases, those that expire first")
        listing.add_argument("--limit", type=row_count, default=200, help="at most so many")
        releasing = verbs.add(
            "release",
            self.release,
            help_text="end a lease at once: the attempt counts as lost and, unless it must not be "
            "repeated, is tried again",
        )
        releasing.add_argument("execution", metavar="NUMBER|ID", help="which execution")
        releasing.add_argument("--note", default="", help="why, for the audit log")
        add_acting_user(releasing)

    def list_all(self, options: Options) -> Answer:
        now = clock.now()
        running = Execution.objects.filter(status=ExecutionStatus.RUNNING)
        found = list(running.order_by("lease_expires_at")[: options["limit"]])
        leases = [shapes.lease(one, now=now) for one in found]
        document = {
            "held": running.count(),
            "expired": running.filter(lease_expires_at__lt=now).count(),
            "leases": leases,
        }
        rows = (
            (
                f"#{one.number}",
                one.snapshot.get("name"),
                one.worker_id,
                moment(one.started_at, now=now),
                moment(one.lease_expires_at, now=now),
                one.lease_extensions,
            )
            for one in found
        )
        shown = table("NO", "NAME", "WORKER", "SINCE", "EXPIRES", "RENEWED", rows=rows)
        return Answer(
            document, Group(shown, f"{document['held']} held, {document['expired']} expired")
        )

    def release(self, options: Options) -> Answer:
        execution = execution_named(options["execution"])
        rescuer.release(
            execution.id,
            actor=actor(options),
            rng=random.SystemRandom(),
            note=options["note"],
        )
        execution.refresh_from_db()
        return Answer(
            {"released": execution.id, "status": execution.status, "due_at": execution.due_at},
            why(execution, now=clock.now()),
        )
