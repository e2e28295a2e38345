"""When a cycle is looked at: a beat reads what is due, not what runs.

Cycles that have ended are looked at by nobody, so they get no instant, unless steps are left.
"""

from django.db import migrations, models
from django.db.models.functions import Now

HELP = "then a beat looks whether somebody carries it on"


class Migration(migrations.Migration):
    dependencies = [
        ("agents_app", "0007_cycles_that_wait"),
    ]

    operations = [
        migrations.AddField(
            model_name="cycle",
            name="look_at",
            field=models.DateTimeField(help_text=HELP, null=True),
        ),
        migrations.RunSQL(
            """
            UPDATE cycles SET look_at = now()
            WHERE status = 'running' OR execution_id IN (
                SELECT execution_id FROM execution_steps WHERE status IN ('queued', 'running')
            )
            """,
            migrations.RunSQL.noop,
        ),
        migrations.AlterField(
            model_name="cycle",
            name="look_at",
            field=models.DateTimeField(db_default=Now(), help_text=HELP, null=True),
        ),
        migrations.AlterField(
            model_name="cycle",
            name="started_at",
            field=models.DateTimeField(
                db_default=Now(),
                help_text="when it was given an agent; until then, when it was made",
            ),
        ),
    ]
