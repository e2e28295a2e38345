"""What is counted under a limit is found without reading what waits for room under it."""

from django.db import migrations, models

ACTIVE = ["pending", "queued", "running", "waiting"]


class Migration(migrations.Migration):
    dependencies = [("executions_app", "0003_limits_on_executions")]

    operations = [
        migrations.RemoveIndex(model_name="execution", name="execution_active_of_schedule"),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status__in", ACTIVE)),
                fields=["schedule_id", "status"],
                name="execution_active_of_schedule",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(
                    ("status__in", ACTIVE), models.Q(("unique_key", ""), _negated=True)
                ),
                fields=["unique_key"],
                name="execution_unique",
            ),
        ),
    ]
