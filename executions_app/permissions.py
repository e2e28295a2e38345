"""Who may do what concerns everybody's executions: the rule that REST, admin and commands ask."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import AbstractBaseUser, AbstractUser, AnonymousUser

from executions_app.states import SchedulerException

OPERATOR: Final = "operator"
"""The group; staff and superusers are operators without it."""


class OperatorNeeded(SchedulerException):
    """The act is an operator's."""


def is_operator(user: AbstractBaseUser | AnonymousUser) -> bool:
    """True for staff, superusers and members of the group `operator`."""
    if not isinstance(user, AbstractUser):
        return False
    if user.is_staff or user.is_superuser:
        return True
    return user.groups.filter(name=OPERATOR).exists()


def check_operator(user: AbstractBaseUser | AnonymousUser, act: str) -> None:
    """Raise OperatorNeeded unless `user` is one; `act` is what they want, as in "stop it"."""
    if not is_operator(user):
        raise OperatorNeeded(f"Only operators may {act}; ask one, or for the role {OPERATOR!r}")
