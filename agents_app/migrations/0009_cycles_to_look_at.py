"""Cycles are found by when they are to be looked at; nobody waits while the indexes are made."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("agents_app", "0008_cycles_look_at")]

    operations = [
        AddIndexConcurrently(
            model_name="cycle",
            index=models.Index(
                condition=models.Q(
                    ("look_at__isnull", False), models.Q(("stage", "wait"), _negated=True)
                ),
                fields=["look_at"],
                name="cycle_to_look_at",
            ),
        ),
        AddIndexConcurrently(
            model_name="cycle",
            index=models.Index(
                condition=models.Q(("look_at__isnull", False), ("stage", "wait")),
                fields=["look_at"],
                name="cycle_waiting_to_look_at",
            ),
        ),
    ]
