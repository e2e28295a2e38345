"""What every test may count on, whatever ran before: the system's one row, and nothing learned."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from executions_app.models import SystemState
from scheduler_app.prediction import predictions


@receiver(post_migrate, dispatch_uid="tests.system_state")
def restore_system_state(sender: Any, **_: Any) -> None:
    """A test that flushes its tables takes the row of the migrations with it; flush tells so."""
    if sender.name == "executions_app" and "system_state" in connection.introspection.table_names():
        SystemState.objects.get_or_create(id=1)


@pytest.fixture(autouse=True)
def no_duration_is_known() -> None:
    predictions.__init__()  # type: ignore[misc]
