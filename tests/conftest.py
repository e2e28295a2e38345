"""What every test may count on: the one row of the system's state, whatever was flushed before."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from executions_app.models import SystemState


@receiver(post_migrate, dispatch_uid="tests.system_state")
def restore_system_state(sender: Any, **_: Any) -> None:
    """A test that flushes its tables takes the row of the migrations with it; flush tells so."""
    if sender.name == "executions_app" and "system_state" in connection.introspection.table_names():
        SystemState.objects.get_or_create(id=1)
