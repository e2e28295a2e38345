"""`manage.py benchmark`: numbers of the whole system, measured from outside on fresh data."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from benchmarks import due
from executions_app.audit import Actor
from scheduler_app import definition, schedules


class Command(BaseCommand):
    help = "Measure the whole system on fresh data of its own; leaves nothing behind."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "what",
            choices=["due", "load"],
            help="due: arrival times of executions due at one instant; "
            "load: part of it, puts its schedules into the running system",
        )
        parser.add_argument("--count", type=int, default=1_000)
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
        parser.add_argument("--url", help="load: the endpoint to be called")
        parser.add_argument("--at", type=datetime.fromisoformat, help="load: when they are due")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["count"] < 1:
            raise CommandError("--count must be at least 1")
        if options["what"] == "load":
            self._load(count=options["count"], url=options["url"], at=options["at"])
            return
        try:
            measurement = due.measure(count=options["count"], tell=self._tell)
        except due.MeasurementImpossible as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(measurement.as_json(), indent=2))
        else:
            self.stdout.write(in_words(measurement))
        if not measurement.is_good:
            sys.exit(1)

    def _tell(self, words: str) -> None:
        self.stderr.write(f"{words} ...")

    def _load(self, *, count: int, url: str | None, at: datetime | None) -> None:
        owner = get_user_model().objects.filter(is_superuser=True).order_by("pk").first()
        if owner is None or url is None or at is None:
            raise CommandError("load needs --url, --at and an administrator (first_admin)")
        for number in range(count):
            one = definition.parse(
                {
                    "name": f"benchmark {number:06}",
                    "schedule_type": "one_time",
                    "schedule_config": {"run_at": at.isoformat()},
                    "task_type": "http_request",
                    "task_config": {"method": "POST", "url": url},
                }
            )
            schedules.create(one, owner_id=owner.pk, actor=Actor.of(owner))


def in_words(measurement: due.Measurement) -> str:
    """The measurement for a person."""
    times = "  ".join(f"{name} {value:g}" for name, value in measurement.arrival_ms.items())
    return (
        f"{measurement.arrived} arrivals of {measurement.count} executions due at one instant: "
        f"{measurement.missing} missing, {measurement.doubled} doubled, "
        f"{measurement.late} later than {due.LATEST_SECONDS:g} s\n"
        f"milliseconds after that instant: {times}\n"
        f"on {measurement.machine['cpus']} CPUs, {measurement.machine['system']}"
    )
