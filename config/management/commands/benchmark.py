"""`manage.py benchmark`: targets of performance, measured beside the peers on fresh services."""

from __future__ import annotations

import json
import signal
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from benchmarks import picture, report, run, targets
from benchmarks.installation import MeasurementImpossible
from benchmarks.table import Target
from config.embedded import ServiceError
from config.env import CHECKOUT

REPORT: Final = CHECKOUT / "benchmarks"
RUNS: Final = 3


class Command(BaseCommand):
    help = (
        "Measure targets of performance on fresh services of their own, beside other products; "
        "leaves nothing running. Exits with 1 when something that must be reached is not."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help=f"of {', '.join(targets.BY_NAME)}; else all"
        )
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
        parser.add_argument("--runs", type=int, help=f"default {RUNS}, with --quick 1")
        parser.add_argument("--quick", action="store_true", help="less of everything, once")
        parser.add_argument(
            "--without-peers", action="store_true", help="only this product; ratios stay open"
        )
        parser.add_argument(
            "--report",
            metavar="DIR",
            type=Path,
            help="write report.md and report.svg there",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        runs = options["runs"] or (1 if options["quick"] else RUNS)
        if runs < 1:
            raise CommandError("--runs must be at least 1")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        wanted = run.Wanted(
            _chosen(options["names"]),
            runs=runs,
            is_quick=options["quick"],
            with_peers=not options["without_peers"],
            cache=Path(settings.SERVICES.data_dir),
        )
        try:
            session = run.measure(wanted, self._teller())
        except KeyboardInterrupt:
            sys.exit(130)
        except (MeasurementImpossible, ServiceError) as error:
            raise CommandError(str(error)) from error
        self._tell(session, as_json=options["json"], folder=options["report"])
        if not report.is_good(session):
            sys.exit(1)

    def _tell(self, session: run.Session, *, as_json: bool, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "report.md").write_text(report.markdown(session))
            (folder / "report.svg").write_text(picture.svg(session.results))
        if as_json:
            self.stdout.write(json.dumps(report.document(session), indent=2))
        else:
            self.stdout.write(report.text(session))

    def _teller(self) -> run.Tell:
        began = time.monotonic()

        def tell(words: str) -> None:
            seconds = int(time.monotonic() - began)
            self.stderr.write(f"{seconds // 60:3}:{seconds % 60:02} {words}", style_func=str)
            self.stderr.flush()

        return tell


def _chosen(names: list[str]) -> list[Target]:
    unknown = [one for one in names if one.upper() not in targets.BY_NAME]
    if unknown:
        known = ", ".join(targets.BY_NAME)
        raise CommandError(f"There is no target {unknown[0]!r}; known are {known}")
    wanted = {one.upper() for one in names}
    return [one for one in targets.ALL if not wanted or one.name in wanted]
