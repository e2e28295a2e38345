"""What the stages of a cycle took of the machine."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents_app", "0009_cycles_to_look_at")]

    operations = [
        migrations.AddField(
            model_name="cycle",
            name="usage",
            field=models.JSONField(
                help_text="what its stages took of the machine, its steps apart", null=True
            ),
        ),
    ]
