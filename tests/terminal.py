"""Runs `manage.py` commands in this process, as a person or a script would see them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command


@dataclass(frozen=True)
class Ended:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


def run(*arguments: str) -> Ended:
    """Carry out `manage.py <arguments>`; an unusable option ends with 2, as on a terminal."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(*arguments, stdout=stdout, stderr=stderr)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except CommandError as error:
        code = 2
        stderr.write(str(error))
    return Ended(code, stdout.getvalue(), stderr.getvalue())
