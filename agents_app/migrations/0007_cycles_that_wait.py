"""The check of a cycle's status counts for the rows of before as well: read, nobody waits."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("agents_app", "0006_plan_approvals"),
    ]

    operations = [
        ValidateConstraint(model_name="cycle", name="cycle_status_known"),
    ]
