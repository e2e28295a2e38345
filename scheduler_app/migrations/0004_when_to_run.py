"""Everything that says when: triggers, windows, calendars, limits, unique work and backfills."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
import scheduler_app.models_calendars
import scheduler_app.models_limits
import scheduler_app.models_sources
import scheduler_app.policies
from django.conf import settings
from django.db import migrations, models

from executions_app import schema

DEFINITION = (
    "name, trigger_type, trigger_config, schedule_type, schedule_config, timezone, task_type, "
    "task_config, priority, enabled, paused_until, pause_reason, timeout_ms, overlap_policy, "
    "catchup_policy, catchup_limit, catchup_window_ms, retry_policy, start_at, end_at, max_runs, "
    "execution_window, calendar_id, outside_window, jitter_ms, spread_ms, buffer_limit, "
    "run_ttl_ms, pause_after_failures, max_concurrent, limit_key, unique_key, unique_mode, "
    "unique_for_ms, version"
)
BEFORE = (
    "name, trigger_type, schedule_type, schedule_config, timezone, task_type, task_config, "
    "priority, enabled, paused_until, pause_reason, timeout_ms, overlap_policy, catchup_policy, "
    "catchup_limit, catchup_window_ms, retry_policy, version"
)
TOUCH = """
    DROP TRIGGER task_schedules_touch ON task_schedules;
    CREATE TRIGGER task_schedules_touch BEFORE UPDATE OF {columns} ON task_schedules
    FOR EACH ROW EXECUTE FUNCTION cadenza_touch()
"""


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler_app", "0003_lists_of_owners"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Backfill",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "schedule_id",
                    models.UUIDField(help_text="no foreign key: the record outlives it"),
                ),
                ("range_from", models.DateTimeField(help_text="nominal instants, inclusive")),
                ("range_until", models.DateTimeField(help_text="nominal instants, inclusive")),
                (
                    "status",
                    models.TextField(
                        default=scheduler_app.models_sources.BackfillStatus["RUNNING"]
                    ),
                ),
                (
                    "cursor",
                    models.DateTimeField(help_text="the last nominal instant looked at", null=True),
                ),
                ("total", models.BigIntegerField(default=0)),
                ("made", models.BigIntegerField(default=0)),
                ("max_concurrent", models.IntegerField(default=1)),
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
                "db_table": "backfills",
            },
        ),
        migrations.CreateModel(
            name="BusinessCalendar",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("timezone", models.TextField(default="UTC")),
                (
                    "weekend",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=scheduler_app.models_calendars.saturday_and_sunday,
                        size=None,
                    ),
                ),
                (
                    "holidays",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text='[{"date": "2026-12-25", "name": "Christmas Day"}]',
                    ),
                ),
                (
                    "blackouts",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text='[{"from": "2026-12-24T18:00:00Z", "to": "2026-12-27T06:00:00Z", "reason": ""}]',
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
                "db_table": "business_calendars",
            },
        ),
        migrations.CreateModel(
            name="DependencyMark",
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
                ("schedule_id", models.UUIDField(help_text="the dependent schedule")),
                ("upstream_id", models.UUIDField()),
                ("execution_id", models.UUIDField(help_text="of the upstream schedule")),
                (
                    "marked_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "dependency_marks",
            },
        ),
        migrations.CreateModel(
            name="Limit",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "key",
                    models.TextField(
                        help_text="system, queue:low, task:..., key:tenant:*", unique=True
                    ),
                ),
                ("max_concurrent", models.IntegerField(blank=True, null=True)),
                ("rate_count", models.IntegerField(blank=True, null=True)),
                ("rate_period_ms", models.BigIntegerField(blank=True, null=True)),
                ("note", models.TextField(blank=True, default="")),
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
                "db_table": "limits",
            },
        ),
        migrations.CreateModel(
            name="RateBucket",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("tokens", models.FloatField()),
                ("refreshed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "rate_buckets",
            },
        ),
        migrations.CreateModel(
            name="UniqueWork",
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
                ("owner_id", models.IntegerField()),
                ("key", models.TextField()),
                ("execution_id", models.UUIDField()),
                ("until", models.DateTimeField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "unique_works",
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
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
                ("schedule_id", models.UUIDField()),
                ("delivery_id", models.TextField()),
                (
                    "execution_id",
                    models.UUIDField(help_text="null: the filter did not match", null=True),
                ),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "db_table": "webhook_deliveries",
            },
        ),
        migrations.RemoveConstraint(
            model_name="firerecord",
            name="fire_reason_known",
        ),
        migrations.RemoveConstraint(
            model_name="schedule",
            name="schedule_overlap_policy_known",
        ),
        migrations.AddField(
            model_name="schedule",
            name="buffer_limit",
            field=models.IntegerField(
                db_default=100, default=100, help_text="how many buffer_all lets wait"
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="end_at",
            field=models.DateTimeField(blank=True, help_text="no nominal fire after", null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="execution_window",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="schedule",
            name="fired_count",
            field=models.BigIntegerField(
                db_default=0, default=0, help_text="executions of its own trigger"
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="jitter_ms",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="schedule",
            name="limit_key",
            field=models.TextField(
                blank=True, db_default="", default="", help_text="such as tenant:{tenant}"
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="max_concurrent",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="max_runs",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="run_ttl_ms",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="spread_ms",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="schedule",
            name="unique_key",
            field=models.TextField(
                blank=True, db_default="", default="", help_text="such as order:{order_id}"
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="outside_window",
            field=models.TextField(
                db_default="skip", default=scheduler_app.policies.OutsideWindow["SKIP"]
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="pause_after_failures",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="paused_at",
            field=models.DateTimeField(blank=True, help_text="fires pass since then", null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="start_at",
            field=models.DateTimeField(blank=True, help_text="no nominal fire before", null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="trigger_config",
            field=models.JSONField(
                blank=True, db_default={}, default=dict, help_text="of what starts it"
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="unique_for_ms",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="unique_mode",
            field=models.TextField(
                db_default="while_active",
                default=scheduler_app.models_limits.UniqueMode["WHILE_ACTIVE"],
            ),
        ),
        migrations.AddConstraint(
            model_name="firerecord",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "reason__in",
                        [
                            "dispatched",
                            "skipped_overlap",
                            "skipped_window",
                            "skipped_calendar",
                            "skipped_paused",
                            "skipped_duplicate",
                            "skipped_budget",
                            "missed_coalesced",
                            "missed_too_old",
                        ],
                    )
                ),
                name="fire_reason_known",
            ),
        ),
        migrations.AddField(
            model_name="backfill",
            name="owner",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="businesscalendar",
            name="owner",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="calendar",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="scheduler_app.businesscalendar",
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(
                condition=models.Q(("trigger_type__in", ["event_driven", "dependent"])),
                fields=["trigger_type", "id"],
                name="schedule_of_trigger",
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=django.contrib.postgres.indexes.GinIndex(
                condition=models.Q(("trigger_type", "dependent")),
                fields=["trigger_config"],
                name="schedule_upstreams",
                opclasses=["jsonb_path_ops"],
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(
                condition=models.Q(("calendar__isnull", False)),
                fields=["calendar"],
                name="schedule_of_calendar",
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(
                condition=models.Q(("paused_at__isnull", False), ("paused_until__isnull", False)),
                fields=["paused_until"],
                name="schedule_pause_ending",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "overlap_policy__in",
                        ["skip", "buffer_one", "buffer_all", "cancel_running", "allow"],
                    )
                ),
                name="schedule_overlap_policy_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("outside_window__in", ["skip", "next_opening"])),
                name="schedule_outside_window_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("unique_mode__in", ["while_active", "for_time", "debounce", "replace"])
                ),
                name="schedule_unique_mode_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("jitter_ms__gte", 0), ("spread_ms__gte", 0)),
                name="schedule_offsets_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("start_at__isnull", True),
                    ("end_at__isnull", True),
                    ("end_at__gt", models.F("start_at")),
                    _connector="OR",
                ),
                name="schedule_ends_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("buffer_limit__gte", 1),
                    models.Q(("max_runs__isnull", True), ("max_runs__gte", 1), _connector="OR"),
                    models.Q(("run_ttl_ms__isnull", True), ("run_ttl_ms__gte", 1), _connector="OR"),
                    models.Q(
                        ("pause_after_failures__isnull", True),
                        ("pause_after_failures__gte", 1),
                        _connector="OR",
                    ),
                    models.Q(
                        ("max_concurrent__isnull", True),
                        ("max_concurrent__gte", 1),
                        _connector="OR",
                    ),
                    models.Q(
                        ("unique_for_ms__isnull", True), ("unique_for_ms__gte", 1), _connector="OR"
                    ),
                ),
                name="schedule_bounds_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="dependencymark",
            constraint=models.UniqueConstraint(
                fields=("schedule_id", "upstream_id"), name="dependency_marked_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="limit",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("max_concurrent__isnull", False),
                    ("rate_count__isnull", False),
                    _connector="OR",
                ),
                name="limit_says_something",
            ),
        ),
        migrations.AddConstraint(
            model_name="limit",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("rate_count__isnull", True), ("rate_period_ms__isnull", True)),
                    models.Q(
                        ("rate_count__gte", 1),
                        ("rate_count__isnull", False),
                        ("rate_period_ms__gte", 1),
                        ("rate_period_ms__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="limit_rate_is_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="limit",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("max_concurrent__isnull", True), ("max_concurrent__gte", 0), _connector="OR"
                ),
                name="limit_max_concurrent_not_negative",
            ),
        ),
        migrations.AddIndex(
            model_name="uniquework",
            index=models.Index(fields=["execution_id"], name="unique_work_of_execution"),
        ),
        migrations.AddIndex(
            model_name="uniquework",
            index=models.Index(
                condition=models.Q(("until__isnull", False)),
                fields=["until"],
                name="unique_work_ending",
            ),
        ),
        migrations.AddConstraint(
            model_name="uniquework",
            constraint=models.UniqueConstraint(
                fields=("owner_id", "key"), name="unique_work_of_owner"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["received_at"], name="webhook_delivery_received"),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(
                fields=("schedule_id", "delivery_id"), name="webhook_delivered_once"
            ),
        ),
        migrations.AddIndex(
            model_name="backfill",
            index=models.Index(fields=["owner", "id"], name="backfill_of_owner"),
        ),
        migrations.AddIndex(
            model_name="backfill",
            index=models.Index(fields=["schedule_id", "id"], name="backfill_of_schedule"),
        ),
        migrations.AddIndex(
            model_name="backfill",
            index=models.Index(
                condition=models.Q(("status", "running")), fields=["id"], name="backfill_running"
            ),
        ),
        migrations.AddConstraint(
            model_name="backfill",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["running", "paused", "completed", "aborted"])),
                name="backfill_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="backfill",
            constraint=models.CheckConstraint(
                condition=models.Q(("range_until__gte", models.F("range_from"))),
                name="backfill_range_ordered",
            ),
        ),
        migrations.AddConstraint(
            model_name="backfill",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_concurrent__gte", 1)),
                name="backfill_max_concurrent_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="businesscalendar",
            constraint=models.UniqueConstraint(
                fields=("owner", "name"), name="calendar_name_of_owner"
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="is_plain",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        models.Q(
                            ("calendar__isnull", True),
                            ("end_at__isnull", True),
                            ("execution_window", {}),
                            ("jitter_ms", 0),
                            ("limit_key", ""),
                            ("max_concurrent__isnull", True),
                            ("max_runs__isnull", True),
                            ("overlap_policy__in", ["skip", "allow"]),
                            ("run_ttl_ms__isnull", True),
                            ("spread_ms", 0),
                            ("unique_key", ""),
                        ),
                        then=models.Value(True),
                    ),
                    default=models.Value(False),
                ),
                output_field=models.BooleanField(),
            ),
        ),
        migrations.RunSQL(TOUCH.format(columns=DEFINITION), TOUCH.format(columns=BEFORE)),
        schema.touched("business_calendars"),
        schema.touched("limits"),
    ]
