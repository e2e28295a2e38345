"""The due index in the order in which due schedules are taken; edits alone move `updated_at`."""

from django.db import migrations, models

DEFINITION = (
    "name, trigger_type, schedule_type, schedule_config, timezone, task_type, task_config, "
    "priority, enabled, paused_until, pause_reason, timeout_ms, overlap_policy, catchup_policy, "
    "catchup_limit, catchup_window_ms, retry_policy, version"
)
TOUCH = """
    DROP TRIGGER task_schedules_touch ON task_schedules;
    CREATE TRIGGER task_schedules_touch BEFORE UPDATE {columns} ON task_schedules
    FOR EACH ROW EXECUTE FUNCTION cadenza_touch()
"""


class Migration(migrations.Migration):
    dependencies = [("scheduler_app", "0001_initial")]

    operations = [
        migrations.RemoveIndex("schedule", "schedule_due"),
        migrations.AddIndex(
            "schedule",
            models.Index(
                condition=models.Q(("enabled", True), ("next_run_at__isnull", False)),
                fields=["priority", "next_run_at"],
                name="schedule_due",
            ),
        ),
        migrations.RunSQL(TOUCH.format(columns=f"OF {DEFINITION}"), TOUCH.format(columns="")),
    ]
