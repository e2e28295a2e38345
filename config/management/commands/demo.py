"""`manage.py demo`: the headless proof in one command, and the parts of the demo that `up` runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from config.demo import endpoints, ledger, loading, proof, report
from config.demo.report import Report
from config.embedded import ServiceError
from config.env import env
from executions_app.states import SchedulerException

TABLE_WIDTH = 150  # of a table that goes into a file or a pipe


class Command(BaseCommand):
    help = (
        "Prove the whole system on fresh data of its own: run it with the demo's schedules, "
        "then compare its tables with what the endpoints saw and what an oracle computes."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
        parser.add_argument("--keep", metavar="DIR", help="run on this new folder and keep it")
        parts = parser.add_mutually_exclusive_group()
        parts.add_argument("--judge", metavar="DIR", help="judge a kept folder again")
        parts.add_argument(
            "--load", action="store_true", help="put the demo's schedules into the running system"
        )
        parts.add_argument(
            "--serve", action="store_true", help="run the endpoint server in the foreground"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            if options["serve"]:
                self._serve()
            elif options["load"]:
                self._load(as_json=options["json"])
            elif options["judge"]:
                verdict = proof.judge_again(proof.resolved(options["judge"]))
                self._tell(verdict, as_json=options["json"])
            else:
                self._tell(self._prove(options["keep"]), as_json=options["json"])
        except KeyboardInterrupt:
            sys.exit(130)
        except (proof.ProofImpossible, ServiceError, SchedulerException, OSError) as error:
            raise CommandError(str(error)) from error

    def _serve(self) -> None:
        listener = endpoints.listen(env.demo_port)
        host, port = listener.getsockname()
        path = ledger.path_in(Path(settings.SERVICES.data_dir))
        self.stderr.write(f"Endpoints at http://{host}:{port}, their ledger in {path}")
        endpoints.serve(listener, ledger.Ledger(path))

    def _load(self, *, as_json: bool) -> None:
        if not env.demo_url:
            raise CommandError("DEMO_URL is not set; `manage.py up --demo` sets it and loads")
        created = loading.load(url=env.demo_url, now=datetime.now(UTC))
        if as_json:
            self.stdout.write(json.dumps({"created": created}))
        else:
            self.stdout.write(f"{len(created)} demo schedules are new, the others up to date")

    def _prove(self, keep: str | None) -> Report:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with proof.fresh_folder(keep) as folder, _progress() as bar:
            verdict = proof.prove(folder.path, _teller(bar))
            folder.stays = folder.stays or not verdict.agrees
        if folder.stays:
            self.stderr.write(f"Everything is kept in {folder.path}")
        return verdict

    def _tell(self, verdict: Report, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(verdict.as_json(), indent=2))
        else:
            report.show(verdict, _console())
        if not verdict.agrees:
            sys.exit(1)


def _console() -> Console:
    is_sized = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_sized else TABLE_WIDTH, highlight=False)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def _teller(bar: Progress) -> proof.Tell:
    """On a terminal a bar; elsewhere one line for every new sentence."""
    task = bar.add_task("", total=None)
    told = ""

    def tell(words: str, done: int = 0, total: int = 0) -> None:
        nonlocal told
        bar.update(task, description=words, completed=done, total=total or None)
        if bar.disable and words != told:
            sys.stderr.write(f"{words} ...\n")
        told = words

    return tell
