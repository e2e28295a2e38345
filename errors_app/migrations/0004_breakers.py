"""Endpoints that fail, and the transitions of their breakers."""

import django.db.models.functions.datetime
import executions_app.states
from django.db import migrations, models

STATES = ["closed", "open", "half_open"]


class Migration(migrations.Migration):
    dependencies = [("errors_app", "0003_incidents")]

    operations = [
        migrations.CreateModel(
            name="Breaker",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "key",
                    models.TextField(
                        help_text="the endpoint, such as https://example.com:443", unique=True
                    ),
                ),
                (
                    "state",
                    models.TextField(default=executions_app.states.BreakerStatus["CLOSED"]),
                ),
                (
                    "since",
                    models.DateTimeField(help_text="null: closed since its first call", null=True),
                ),
                ("next_probe_at", models.DateTimeField(help_text="of an open one", null=True)),
                ("reason", models.TextField(default="")),
                ("opened_count", models.IntegerField(default=0)),
                ("seen_at", models.DateTimeField(help_text="a call was made, to the hour")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "breakers",
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "closed"), _negated=True),
                        fields=["id"],
                        name="breaker_not_closed",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", STATES)), name="breaker_state_known"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BreakerTransition",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("key", models.TextField()),
                ("from_state", models.TextField()),
                ("to_state", models.TextField()),
                ("reason", models.TextField()),
                ("failures", models.IntegerField(help_text="in the window, when it happened")),
                ("calls", models.IntegerField(help_text="in the window, when it happened")),
                ("at", models.DateTimeField(help_text="by the clock of Redis")),
                ("worker", models.TextField(default="")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "breaker_transitions",
                "indexes": [
                    models.Index(fields=["key", "id"], name="breaker_transition_of_key")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("from_state__in", STATES)),
                        name="breaker_transition_from_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("to_state__in", STATES)),
                        name="breaker_transition_to_known",
                    ),
                ],
            },
        ),
    ]
