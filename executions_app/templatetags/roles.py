"""Who sees which pages about executions, for the menu."""

from __future__ import annotations

from django import template
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from executions_app import permissions

register = template.Library()


@register.filter
def is_operator(user: AbstractBaseUser | AnonymousUser) -> bool:
    """True for those who may act on what concerns everybody."""
    return permissions.is_operator(user)
