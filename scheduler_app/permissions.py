"""Who may have what executed: the one place of the rules that REST, admin and commands ask."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import AbstractUser

from executions_app.permissions import OPERATOR as OPERATOR
from executions_app.permissions import OperatorNeeded as OperatorNeeded
from executions_app.permissions import check_operator as check_operator
from executions_app.permissions import is_operator as is_operator

FOR_OPERATORS: Final = frozenset({"shell_command"})
"""Task types that run with the rights of the worker itself."""


def check_task_type(user: AbstractUser, task_type: str) -> None:
    """Raise OperatorNeeded if `user` may not have schedules of this task type."""
    if task_type in FOR_OPERATORS:
        check_operator(user, f"create or change schedules of type {task_type!r}")
