"""Fires that were missed lately are found without reading those that were not."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler_app", "0006_bulk_operations")]

    operations = [
        migrations.AddIndex(
            model_name="firerecord",
            index=models.Index(
                condition=models.Q(("reason__in", ["missed_coalesced", "missed_too_old"])),
                fields=["id"],
                name="fire_missed",
            ),
        ),
    ]
