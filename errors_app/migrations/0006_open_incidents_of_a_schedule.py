"""How many incidents of a schedule and class are open: beyond a number, further ones are one."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("errors_app", "0005_alerts")]

    operations = [
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                condition=Q(status="open"),
                fields=["schedule_id", "error_class"],
                name="incident_open_of_schedule",
            ),
        ),
    ]
