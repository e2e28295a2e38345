"""What an agent remembers is found by whom it works for; nobody waits while the index is made."""

from django.contrib.postgres.operations import (
    AddIndexConcurrently,
    RemoveIndexConcurrently,
    ValidateConstraint,
)
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("agents_app", "0004_memory")]

    operations = [
        ValidateConstraint(model_name="modelcall", name="model_call_phase_known"),
        AddIndexConcurrently(
            model_name="memory",
            index=models.Index(
                fields=["agent", "owner_id", "schedule_id", "kind", "id"], name="memory_of_owner"
            ),
        ),
        RemoveIndexConcurrently(model_name="memory", name="memory_of_agent"),
    ]
