"""Vectors of memories as such, who left a memory, and the phase of calls that make vectors.

The column `embedding`, which held vectors as JSON, stays in the table: processes of before, which
may run beside this, still write it. Nothing reads it any more.
"""

import django.contrib.postgres.fields
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

import agents_app.models_memory

PHASES = ["analyse", "plan", "summarise", "schedule", "llm", "embed", "probe", "replay"]
# Whoever may not make extensions, or has none of this name, goes on without: it only makes the
# comparison of vectors faster.
VECTORS = """
DO $do$ BEGIN
    CREATE EXTENSION IF NOT EXISTS vector;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'goes on without the extension vector: %', SQLERRM;
END $do$
"""


class Migration(migrations.Migration):
    dependencies = [("agents_app", "0003_replay")]

    operations = [
        migrations.RunSQL(VECTORS, migrations.RunSQL.noop),
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField(model_name="memory", name="embedding")]
        ),
        migrations.AlterField(
            model_name="memory",
            name="owner_id",
            field=models.IntegerField(help_text="empty: whoever it works for", null=True),
        ),
        migrations.AddField(
            model_name="memory",
            name="author",
            field=models.TextField(
                db_default="", default="", help_text="the person who left it; empty: the agent"
            ),
        ),
        migrations.AddField(
            model_name="memory", name="space", field=models.TextField(db_default="", default="")
        ),
        migrations.AddField(
            model_name="memory",
            name="vector",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=agents_app.models_memory.Real(), null=True, size=None
            ),
        ),
        migrations.RemoveConstraint(model_name="modelcall", name="model_call_phase_known"),
        AddConstraintNotValid(
            model_name="modelcall",
            constraint=models.CheckConstraint(
                condition=models.Q(("phase__in", PHASES)), name="model_call_phase_known"
            ),
        ),
    ]
