"""`manage.py first_admin`: the account with which a new installation is entered."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from config.env import env
from executions_app import accounts


class Command(BaseCommand):
    help = "Create the first administrator unless there is one; prints a generated password once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(self, *_args: Any, **options: Any) -> None:
        admin = accounts.ensure_first_admin(env.cadenza_admin_user, env.cadenza_admin_password)
        if options["json"]:
            document = {
                "username": admin.username,
                "password": admin.password,
                "is_new": admin.is_new,
            }
            self.stdout.write(json.dumps(document))
        elif admin.password:
            self.stdout.write(
                f"Administrator {admin.username!r}, password {admin.password} (shown only now)"
            )
        else:
            self.stdout.write(f"Administrator {admin.username!r}")
