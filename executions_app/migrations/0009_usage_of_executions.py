"""What the last attempt of an execution took of the machine."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions_app", "0008_executions_to_stop")]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="usage",
            field=models.JSONField(
                help_text="what the last attempt took; null: unknown", null=True
            ),
        ),
    ]
