"""Beneath every supervised process: ties its life to the supervisor's, then becomes the program.

Run by path, `python -I -S leash.py SUPERVISOR_PID PROGRAM ARGUMENT...`: on Linux the kernel sends
SIGTERM when the supervisor dies in any way, SIGKILL included. Elsewhere the program only starts;
what a killed supervisor left is then ended by the next one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(supervisor_pid: int, program: list[str]) -> None:
    """Replace this process by the program; exits with status 127 if it cannot be run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor_pid:  # it died before the line above took effect
            return
    try:
        os.execvp(program[0], program)  # noqa: S606  arguments are a list, no shell is meant
    except OSError as error:
        sys.exit(f"cannot run {program[0]!r}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
