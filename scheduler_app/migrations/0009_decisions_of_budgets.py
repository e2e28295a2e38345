"""What is said of a column, no change of it: a spent budget decides too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler_app", "0008_decisions")]

    operations = [
        migrations.AlterField(
            model_name="scheduledecision",
            name="source",
            field=models.TextField(
                help_text="model, fallback:adaptive, fallback:interval, last_good, budget"
            ),
        ),
    ]
