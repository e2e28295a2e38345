"""What an answer of a model was checked against, and why it ended: what a replay reads.

Rows from before have neither; nothing is rewritten.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents_app", "0002_credential_hosts"),
    ]

    operations = [
        migrations.AddField(
            model_name="modelcall",
            name="finish_reason",
            field=models.TextField(db_default="", default="", help_text="why the answer ended"),
        ),
        migrations.AddField(
            model_name="modelcall",
            name="grounds",
            field=models.JSONField(help_text="what the answer was checked against", null=True),
        ),
    ]
