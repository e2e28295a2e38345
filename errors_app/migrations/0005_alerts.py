"""Rules, channels, alerts and their deliveries; the rules that every installation begins with."""

import json

import django.db.models.functions.datetime
from django.db import migrations, models

MINUTE = 60_000
RULES = [
    (
        "Many executions fail",
        "failure_rate",
        {"threshold_percent": 20, "min_runs": 5, "window_ms": 15 * MINUTE, "per": "schedule"},
        "medium",
    ),
    (
        "An execution is stalled",
        "stalled_execution",
        {
            "heartbeat_ms": MINUTE,
            "over_limit_ms": MINUTE,
            "p95_factor": None,
            "p95_min_runs": 20,
        },
        "high",
    ),
    (
        "A fire is late",
        "late_schedule",
        {"start_by_ms": 5 * MINUTE, "with_held": False},
        "high",
    ),
    ("Fires were missed", "missed", {"min_fires": 1, "window_ms": 15 * MINUTE}, "medium"),
    (
        "A queue is not worked off",
        "queue_age",
        {"max_age_ms": 2 * MINUTE, "low_max_age_ms": 30 * MINUTE},
        "high",
    ),
    ("An endpoint is not called", "breaker_open", {"for_ms": 0}, "medium"),
    ("A process is gone", "process_gone", {"none_for_ms": MINUTE}, "critical"),
    (
        "Space runs out",
        "no_space",
        {"min_free_bytes": 1_000_000_000, "redis_percent": 80},
        "critical",
    ),
    (
        "Executions were given up",
        "dead_letters",
        {"min_letters": 1, "window_ms": 15 * MINUTE},
        "medium",
    ),
    ("An incident is open", "incident_opened", {"min_severity": "medium"}, "medium"),
]
ADD_RULE = """
INSERT INTO alert_rules (name, kind, parameters, severity, channels, enabled, problem, version)
VALUES (%s, %s, %s::jsonb, %s, '[]', true, '', 1)
"""
ADD_LOG = """
INSERT INTO alert_channels (name, kind, ciphertext, enabled, min_severity, version)
VALUES ('log', 'log', '', true, 'low', 1)
"""


class Migration(migrations.Migration):
    dependencies = [("errors_app", "0004_breakers"), ("executions_app", "0005_presence")]

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=models.Func(
                            function="cadenza_uuid7", output_field=models.UUIDField()
                        ),
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("rule_id", models.UUIDField(help_text="no foreign key: the alert outlives it")),
                ("rule_name", models.TextField()),
                ("kind", models.TextField()),
                ("key", models.TextField(help_text="what it is about")),
                ("severity", models.TextField()),
                ("status", models.TextField(default="firing")),
                ("message", models.TextField()),
                ("details", models.JSONField(default=dict)),
                ("schedule_id", models.UUIDField(null=True)),
                ("owner_id", models.IntegerField(null=True)),
                ("count", models.BigIntegerField(default=1, help_text="rounds that found it")),
                (
                    "quiet_rounds",
                    models.IntegerField(default=0, help_text="rounds in a row that did not"),
                ),
                (
                    "first_seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "last_seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "notified_at",
                    models.DateTimeField(
                        help_text="null: nobody was told, it was muted", null=True
                    ),
                ),
                ("muted_until", models.DateTimeField(null=True)),
                ("resolved_at", models.DateTimeField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "alerts",
                "indexes": [
                    models.Index(fields=["rule_id", "key", "id"], name="alert_of_key"),
                    models.Index(fields=["owner_id", "id"], name="alert_of_owner"),
                    models.Index(
                        condition=models.Q(("status", "firing")), fields=["id"], name="alert_firing"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["firing", "resolved"])),
                        name="alert_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resolved_at__isnull", False), ("status", "resolved")),
                            models.Q(("resolved_at__isnull", True), ("status", "firing")),
                            _connector="OR",
                        ),
                        name="alert_resolved_has_end",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "firing")),
                        fields=("rule_id", "key"),
                        name="alert_open_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertChannel",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=models.Func(
                            function="cadenza_uuid7", output_field=models.UUIDField()
                        ),
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.TextField(unique=True)),
                (
                    "kind",
                    models.TextField(help_text="log, or the scheme of its URL, such as mailtos"),
                ),
                (
                    "ciphertext",
                    models.TextField(default="", help_text="the URL, by a key of the ring"),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("min_severity", models.TextField(default="low")),
                ("version", models.IntegerField(default=1)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "alert_channels",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("min_severity__in", ["low", "medium", "high", "critical"])
                        ),
                        name="alert_channel_severity_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ciphertext", ""), ("kind", "log")),
                            models.Q(
                                models.Q(("kind", "log"), _negated=True),
                                models.Q(("ciphertext", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="alert_channel_is_whole",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertDelivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=models.Func(
                            function="cadenza_uuid7", output_field=models.UUIDField()
                        ),
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("alert_id", models.UUIDField(help_text="null: a test", null=True)),
                ("channel_id", models.UUIDField()),
                ("channel_name", models.TextField()),
                ("event", models.TextField()),
                ("status", models.TextField(default="pending")),
                ("attempts", models.IntegerField(default=0)),
                (
                    "next_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "claim",
                    models.UUIDField(help_text="of who sends it now, until next_at", null=True),
                ),
                ("error", models.TextField(default="")),
                ("sent_at", models.DateTimeField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "verbose_name_plural": "alert deliveries",
                "db_table": "alert_deliveries",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")),
                        fields=["channel_id", "next_at"],
                        name="alert_delivery_due",
                    ),
                    models.Index(fields=["channel_id", "id"], name="alert_delivery_of_channel"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "sent", "failed"])),
                        name="alert_delivery_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("event__in", ["fired", "resolved", "test"])),
                        name="alert_delivery_event_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("sent_at__isnull", False), ("status", "sent")),
                            models.Q(
                                models.Q(("status", "sent"), _negated=True),
                                ("sent_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="alert_delivery_sent_has_time",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("alert_id__isnull", False)),
                        fields=("alert_id", "channel_id", "event"),
                        name="alert_delivery_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertRound",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("looked_at", models.DateTimeField()),
                ("looked_by", models.TextField(default="")),
            ],
            options={
                "verbose_name_plural": "alert round",
                "db_table": "alert_round",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="alert_round_single_row"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertRule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=models.Func(
                            function="cadenza_uuid7", output_field=models.UUIDField()
                        ),
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.TextField(unique=True)),
                ("kind", models.TextField()),
                ("parameters", models.JSONField(default=dict)),
                ("schedule_id", models.UUIDField(help_text="only this schedule", null=True)),
                (
                    "owner_id",
                    models.IntegerField(help_text="only what belongs to this user", null=True),
                ),
                ("severity", models.TextField(default="medium")),
                (
                    "channels",
                    models.JSONField(default=list, help_text="names; empty: every channel"),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("muted_until", models.DateTimeField(null=True)),
                (
                    "problem",
                    models.TextField(
                        default="", help_text="why it could not be looked at last time"
                    ),
                ),
                ("version", models.IntegerField(default=1)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "alert_rules",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                [
                                    "failure_rate",
                                    "stalled_execution",
                                    "late_schedule",
                                    "missed",
                                    "silent_schedule",
                                    "finish_by",
                                    "queue_age",
                                    "breaker_open",
                                    "process_gone",
                                    "no_space",
                                    "dead_letters",
                                    "incident_opened",
                                ],
                            )
                        ),
                        name="alert_rule_kind_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("severity__in", ["low", "medium", "high", "critical"])),
                        name="alert_rule_severity_known",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("handling", "")),
                fields=["schedule_id", "id"],
                name="dead_letter_open_of_schedule",
            ),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                condition=models.Q(("status", "open")), fields=["id"], name="incident_open"
            ),
        ),
        migrations.RunSQL(
            [
                (ADD_RULE, [name, kind, json.dumps(parameters), severity])
                for name, kind, parameters, severity in RULES
            ]
            + [(ADD_LOG, None)],
            migrations.RunSQL.noop,
        ),
    ]
