"""Errors that are likes of each other; those there are already are folded by the next beat."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now
from executions_app.schema import NEW_ID

CLASSES = ["transient", "permanent", "timeout", "lost", "malformed", "resource", "unknown"]
SEVERITIES = ["low", "medium", "high", "critical"]
STATUSES = ["open", "acknowledged", "ignored", "resolved"]


class Migration(migrations.Migration):
    dependencies = [
        ("errors_app", "0002_lists_of_owners"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Incident",
            fields=[
                ("id", models.UUIDField(db_default=NEW_ID, primary_key=True, serialize=False)),
                ("key", models.TextField(help_text="owner, schedule and fingerprint in one")),
                ("owner_id", models.IntegerField(null=True)),
                ("schedule_id", models.UUIDField(null=True)),
                (
                    "name",
                    models.TextField(default="", help_text="of the schedule, when it was last seen"),
                ),
                ("fingerprint", models.TextField()),
                ("error_class", models.TextField()),
                ("exception_type", models.TextField()),
                (
                    "title",
                    models.TextField(help_text="the first message, without its numbers and ids"),
                ),
                ("severity", models.TextField(help_text="the highest seen")),
                ("status", models.TextField(default="open")),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("count", models.BigIntegerField(default=0)),
                ("last_error_id", models.UUIDField()),
                ("last_execution_id", models.UUIDField(null=True)),
                (
                    "succeeded_at",
                    models.DateTimeField(
                        help_text=(
                            "when an execution of the schedule completed after the last error"
                        ),
                        null=True,
                    ),
                ),
                (
                    "recovers_at",
                    models.DateTimeField(
                        help_text="then it is resolved by itself, unless another error comes before",
                        null=True,
                    ),
                ),
                ("resolved_at", models.DateTimeField(null=True)),
                ("reopened_count", models.IntegerField(default=0)),
                ("reopened_at", models.DateTimeField(null=True)),
                ("handled_at", models.DateTimeField(null=True)),
                ("note", models.TextField(default="")),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("updated_at", models.DateTimeField(db_default=Now())),
                (
                    "handled_by",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "incidents",
                "constraints": [
                    models.UniqueConstraint(fields=["key"], name="incident_once"),
                    models.CheckConstraint(
                        condition=Q(status__in=STATUSES), name="incident_status_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(error_class__in=CLASSES), name="incident_class_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(severity__in=SEVERITIES), name="incident_severity_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(resolved_at__isnull=False) | ~Q(status="resolved"),
                        name="incident_resolved_has_its_time",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["last_seen_at", "id"], name="incident_by_time"),
                    models.Index(
                        fields=["owner_id", "last_seen_at", "id"], name="incident_of_owner"
                    ),
                    models.Index(
                        fields=["schedule_id", "last_seen_at", "id"], name="incident_of_schedule"
                    ),
                    models.Index(
                        condition=Q(
                            status__in=["open", "acknowledged"], recovers_at__isnull=True
                        ),
                        fields=["schedule_id"],
                        name="incident_awaiting_success",
                    ),
                    models.Index(
                        condition=Q(recovers_at__isnull=False),
                        fields=["recovers_at"],
                        name="incident_recovering",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="IncidentBucket",
            fields=[
                ("id", models.UUIDField(db_default=NEW_ID, primary_key=True, serialize=False)),
                ("incident_id", models.UUIDField()),
                ("hour", models.DateTimeField(help_text="its first instant")),
                ("count", models.BigIntegerField()),
            ],
            options={
                "db_table": "incident_buckets",
                "constraints": [
                    models.UniqueConstraint(
                        fields=["incident_id", "hour"], name="incident_bucket_once"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="errorrecord",
            name="incident_id",
            field=models.UUIDField(help_text="null: not folded into one yet", null=True),
        ),
        migrations.AddIndex(
            model_name="errorrecord",
            index=models.Index(
                condition=Q(incident_id__isnull=True), fields=["id"], name="error_unfolded"
            ),
        ),
        migrations.AddIndex(
            model_name="errorrecord",
            index=models.Index(
                condition=Q(incident_id__isnull=False),
                fields=["incident_id", "id"],
                name="error_of_incident",
            ),
        ),
    ]
