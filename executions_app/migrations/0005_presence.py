"""Which processes there are."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions_app", "0004_counts_under_limits")]

    operations = [
        migrations.AddField(
            model_name="systemstate",
            name="problem_seen_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="Process",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("kind", models.TextField()),
                ("name", models.TextField(help_text="role@host, such as io@worker-1")),
                ("host", models.TextField()),
                ("pid", models.IntegerField()),
                (
                    "queues",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        default=list,
                        help_text="from which a worker takes",
                        size=None,
                    ),
                ),
                ("version", models.TextField(default="")),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "stopping_at",
                    models.DateTimeField(help_text="it was asked to stop", null=True),
                ),
                (
                    "stopped_at",
                    models.DateTimeField(
                        help_text="null long after seen_at: it is gone", null=True
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "processes",
                "db_table": "processes",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["beat", "worker", "web"])),
                        name="process_kind_known",
                    )
                ],
            },
        ),
    ]
