"""Verbs applied to many rows, bit by bit."""

import django.core.serializers.json
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import executions_app.states


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0005_events_and_webhooks"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="BulkOperation",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "sees_all",
                    models.BooleanField(default=False, help_text="begun by an administrator"),
                ),
                ("verb", models.TextField()),
                ("filter", models.JSONField(default=dict, help_text="the query of the list")),
                (
                    "words",
                    models.JSONField(
                        default=dict,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        help_text="what the verb is told beside the rows",
                    ),
                ),
                ("note", models.TextField(default="")),
                ("status", models.TextField(default=executions_app.states.BulkStatus["RUNNING"])),
                (
                    "newest_id",
                    models.UUIDField(help_text="rows born after this one are left alone"),
                ),
                (
                    "cursor",
                    models.UUIDField(help_text="up to here everything was looked at", null=True),
                ),
                ("total", models.BigIntegerField(default=0, help_text="counted when it began")),
                ("is_total_capped", models.BooleanField(default=False)),
                ("done", models.BigIntegerField(default=0)),
                ("refused", models.BigIntegerField(default=0)),
                (
                    "refusals",
                    models.JSONField(
                        default=list, help_text="the first of them, with their reasons"
                    ),
                ),
                ("detail", models.TextField(default="", help_text="why it ended early")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        help_text="who began it, and as whom it acts",
                        on_delete=django.db.models.deletion.PROTECT,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "bulk_operations",
                "indexes": [
                    models.Index(fields=["owner", "id"], name="bulk_of_owner"),
                    models.Index(
                        condition=models.Q(("status", "running")),
                        fields=["updated_at"],
                        name="bulk_running",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "verb__in",
                                [
                                    "cancel",
                                    "retry",
                                    "requeue",
                                    "discard",
                                    "resolve",
                                    "ignore",
                                    "pause",
                                    "resume",
                                ],
                            )
                        ),
                        name="bulk_verb_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["running", "completed", "aborted", "failed"])
                        ),
                        name="bulk_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at__isnull", True), ("status", "running")),
                            models.Q(
                                models.Q(("status", "running"), _negated=True),
                                ("ended_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="bulk_ended_has_end",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("done__gte", 0), ("refused__gte", 0), ("total__gte", 0)
                        ),
                        name="bulk_counts_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("cursor__isnull", True),
                            ("cursor__lte", models.F("newest_id")),
                            _connector="OR",
                        ),
                        name="bulk_cursor_within_bound",
                    ),
                ],
            },
        ),
    ]
