"""Carries out `shell_command`: one program in its own process group, of which nothing remains."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import signal
import tempfile
import time
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from agents_app.handlers import orphans
from agents_app.handlers.base import Context, Handler, Outcome
from agents_app.handlers.process import Process, place
from config.env import env
from errors_app.taxonomy import Cancelled, DeadlineExceeded, ErrorClass, HandlerError

CANNOT_BE_RUN: Final = frozenset({126, 127})  # POSIX: not executable, not found
NOTHING_LEFT_JUST_NOW: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
INSTANCE: Final = ("CADENZA_INSTANCE",)  # by which `manage.py up` knows what belongs to it
MOST_SHOWN_OF_STDERR: Final = 1_000


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not have NUL characters")
    return text


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is no name of an environment variable")
    return name


Argument = Annotated[str, AfterValidator(_without_nul)]


class ShellCommandConfig(BaseModel):
    """`command`: an argv list, or a string that is split as a shell would, without one.

    With `shell`, which needs the setting ALLOW_SHELL, the string goes to /bin/sh as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: (
        Annotated[Argument, Field(min_length=1)] | Annotated[list[Argument], Field(min_length=1)]
    )
    shell: bool = False
    env: Annotated[
        dict[Annotated[str, AfterValidator(_variable_name)], Argument], Field(max_length=50)
    ] = {}

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if self.shell and not env.allow_shell:
            raise ValueError(
                "shell: true is not allowed here; give command as a list, "
                "or let an administrator set ALLOW_SHELL=1"
            )
        if self.shell and not isinstance(self.command, str):
            raise ValueError("with shell: true, command must be one string")
        if not self.argv() or not self.argv()[0]:
            raise ValueError("command names no program")
        return self

    def argv(self) -> list[str]:
        """The program and its arguments; raises ValueError for an unclosed quotation."""
        if isinstance(self.command, list):
            return self.command
        return ["/bin/sh", "-c", self.command] if self.shell else shlex.split(self.command)


class ShellCommand(Handler[ShellCommandConfig]):
    """Runs the command in an empty folder of its own, with none of the worker's environment."""

    config_model = ShellCommandConfig
    nature = "process"

    def run(self, context: Context[ShellCommandConfig]) -> Outcome:
        """Wait for the command to end; raises HandlerError unless it exits with 0."""
        if context.attempt > 1:
            orphans.end(context.execution_id)
        with place(context):
            return self._run(context)

    @staticmethod
    def _run(context: Context[ShellCommandConfig]) -> Outcome:
        began = time.monotonic()
        argv = context.config.argv()
        with tempfile.TemporaryDirectory(prefix="cadenza-", ignore_cleanup_errors=True) as folder:
            process = _start(argv, folder=folder, environment=_environment(context, folder))
            try:
                exit_code = process.wait(context.check)
            except (DeadlineExceeded, Cancelled) as stop:
                stop.context["output"] = _output(process, None, began=began)
                raise
            finally:
                if process.took is not None:
                    context.took(process.took, peak_bytes=process.peak_bytes)
        output = _output(process, exit_code, began=began)
        if exit_code != 0:
            raise _failed(argv[0], exit_code, output)
        return Outcome(output=output)


def _environment(context: Context[ShellCommandConfig], folder: str) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "C.UTF-8",
        **{name: os.environ[name] for name in INSTANCE if name in os.environ},
        orphans.MARK: str(context.execution_id),
        "CADENZA_ATTEMPT": str(context.attempt),
        "CADENZA_PARAMETERS": json.dumps(dict(context.parameters)),
        **context.config.env,
    }


def _start(argv: list[str], *, folder: str, environment: dict[str, str]) -> Process:
    try:
        _refuse_what_is_no_program(argv[0], folder=folder, path=environment["PATH"])
        return Process([*orphans.leash(), *argv], folder=folder, environment=environment)
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        is_passing = number in NOTHING_LEFT_JUST_NOW
        raise HandlerError(
            f"The command {argv[0]!r} cannot be run: {os.strerror(number) if number else error}",
            error_class=ErrorClass.TRANSIENT if is_passing else ErrorClass.PERMANENT,
        ) from error


def _refuse_what_is_no_program(name: str, *, folder: str, path: str) -> None:
    """Raise the OSError that starting it would: behind a leash the shell's 126 and 127 say less."""
    inside = os.path.join(folder, name) if os.sep in name else name  # noqa: PTH118  may be relative
    if shutil.which(inside, path=path) is None:
        number = errno.EACCES if os.path.exists(inside) else errno.ENOENT  # noqa: PTH110
        raise OSError(number, os.strerror(number), name)


def _output(process: Process, exit_code: int | None, *, began: float) -> dict[str, JsonValue]:
    return {
        "exit_code": exit_code,
        "stdout": process.stdout.text(),
        "stderr": process.stderr.text(),
        "truncated": process.stdout.is_truncated or process.stderr.is_truncated,
        "duration_ms": round((time.monotonic() - began) * 1000),
    }


def _failed(program: str, exit_code: int, output: dict[str, Any]) -> HandlerError:
    if exit_code < 0:
        fact = f"was killed by {_signal_name(-exit_code)}"
    else:
        fact = f"ended with exit code {exit_code}"
    tail = output["stderr"].strip()[-MOST_SHOWN_OF_STDERR:]
    is_permanent = exit_code in CANNOT_BE_RUN
    return HandlerError(
        f"The command {program!r} {fact}" + (f": {tail}" if tail else ""),
        error_class=ErrorClass.PERMANENT if is_permanent else ErrorClass.TRANSIENT,
        output=output,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
