"""The keys by which executions are limited and unique, and the instant at which they expire."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("executions_app", "0002_idempotencykey"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="expires_at",
            field=models.DateTimeField(help_text="cancelled if not started by then", null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="limit_key",
            field=models.TextField(db_default="", default="", help_text="what `key:` limits count"),
        ),
        migrations.AddField(
            model_name="execution",
            name="unique_key",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", "pending"), models.Q(("held_by", ""), _negated=True)),
                fields=["held_by", "priority", "limit_key", "due_at"],
                opclasses=[
                    "text_pattern_ops",
                    "text_pattern_ops",
                    "text_pattern_ops",
                    "timestamptz_ops",
                ],
                name="execution_held",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(
                    ("status__in", ["queued", "running"]),
                    models.Q(("limit_key", ""), _negated=True),
                ),
                fields=["limit_key"],
                name="execution_limited",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(
                    ("attempt", 0),
                    ("expires_at__isnull", False),
                    ("status__in", ["pending", "queued"]),
                ),
                fields=["expires_at"],
                name="execution_expiring",
            ),
        ),
    ]
