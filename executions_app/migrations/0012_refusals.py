"""How often a process came too late: to claim, or to write."""

from django.db import migrations, models

CLAIMS = "messages named an execution that was not to be had any more, since it began"
WRITES = "a run heard, or a write found, that its lease was gone, since it began"


class Migration(migrations.Migration):
    dependencies = [("executions_app", "0011_queued_by_queue")]

    operations = [
        migrations.AddField(
            model_name="process",
            name="refused_claims",
            field=models.BigIntegerField(default=0, db_default=0, help_text=CLAIMS),
        ),
        migrations.AddField(
            model_name="process",
            name="refused_writes",
            field=models.BigIntegerField(default=0, db_default=0, help_text=WRITES),
        ),
    ]
