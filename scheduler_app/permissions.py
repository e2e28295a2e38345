"""Who may have what executed: the one place of the rules that REST, admin and commands ask."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import AbstractUser

from executions_app.states import SchedulerException

OPERATOR: Final = "operator"
"""The group; staff and superusers are operators without it."""
FOR_OPERATORS: Final = frozenset({"shell_command"})
"""Task types that run with the rights of the worker itself."""


class OperatorNeeded(SchedulerException):
    """The act is an operator's."""


def is_operator(user: AbstractUser) -> bool:
    """True for staff, superusers and members of the group `operator`."""
    if user.is_staff or user.is_superuser:
        return True
    return user.groups.filter(name=OPERATOR).exists()


def check_operator(user: AbstractUser, act: str) -> None:
    """Raise OperatorNeeded unless `user` is one; `act` is what they want, as in "stop it"."""
    if not is_operator(user):
        raise OperatorNeeded(f"Only operators may {act}; ask one, or for the role {OPERATOR!r}")


def check_task_type(user: AbstractUser, task_type: str) -> None:
    """Raise OperatorNeeded if `user` may not have schedules of this task type."""
    if task_type in FOR_OPERATORS:
        check_operator(user, f"create or change schedules of type {task_type!r}")
