"""Plans that wait for a person, and cycles that wait with them.

The check of a cycle's status is replaced without a look at the rows there are: it admits one word
more than the one before.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

import executions_app.states

STATUSES = ["waiting", "approved", "rejected", "expired", "withdrawn"]


class Migration(migrations.Migration):
    dependencies = [
        ("agents_app", "0005_memory_of_owner"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="PlanApproval",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("cycle_id", models.UUIDField()),
                ("execution_id", models.UUIDField()),
                ("schedule_id", models.UUIDField(null=True)),
                ("owner_id", models.IntegerField()),
                (
                    "asked_for",
                    models.TextField(help_text="what the schedule said: always or unsafe"),
                ),
                (
                    "plan_hash",
                    models.TextField(help_text="of the steps as they would be carried out"),
                ),
                (
                    "risks",
                    models.JSONField(
                        default=list, help_text="the steps that may change something, and why"
                    ),
                ),
                (
                    "status",
                    models.TextField(default=executions_app.states.ApprovalStatus["WAITING"]),
                ),
                ("expires_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
                ("reason", models.TextField(default="", help_text="why it was not approved")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "decided_by",
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
                "db_table": "plan_approvals",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "waiting")),
                        fields=["expires_at"],
                        name="approval_open",
                    ),
                    models.Index(fields=["execution_id", "id"], name="approval_of_execution"),
                    models.Index(fields=["schedule_id", "id"], name="approval_of_schedule"),
                    models.Index(fields=["owner_id", "id"], name="approval_of_owner"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", STATUSES)),
                        name="approval_status_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "waiting")),
                        fields=("execution_id",),
                        name="approval_asked_once",
                    ),
                ],
            },
        ),
        migrations.RemoveConstraint(model_name="cycle", name="cycle_status_known"),
        AddConstraintNotValid(
            model_name="cycle",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["running", "waiting", "completed", "failed", "cancelled"])
                ),
                name="cycle_status_known",
            ),
        ),
    ]
