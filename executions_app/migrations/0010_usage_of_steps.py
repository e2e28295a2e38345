"""What each step of an agent's execution took of the machine."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions_app", "0009_usage_of_executions")]

    operations = [
        migrations.AddField(
            model_name="step",
            name="usage",
            field=models.JSONField(help_text="what its last try took; null: unknown", null=True),
        ),
    ]
