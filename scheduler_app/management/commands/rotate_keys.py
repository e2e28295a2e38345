"""`manage.py rotate_keys`: encrypt all secrets by the first key of FIELD_ENCRYPTION_KEYS."""

from __future__ import annotations

from argparse import ArgumentParser

from django.db import transaction

from agents_app.objects import credentials
from errors_app.alerting import channels
from executions_app.commands import Answer, Options, add_common_options
from scheduler_app.commands import ScheduleCommand
from scheduler_app.sources import webhook_secrets


class Command(ScheduleCommand):
    help = "Encrypt all secrets at rest by the first of the keys; the others may then be dropped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.set_defaults(run=self.rotate)

    def rotate(self, options: Options) -> Answer:
        del options
        with transaction.atomic():
            rings = (webhook_secrets, channels, credentials)
            number = sum(one.renew_all() for one in rings)
        return Answer({"renewed": number}, f"{number} secrets are encrypted by the first key now")
