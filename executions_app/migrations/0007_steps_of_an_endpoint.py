"""Ended steps are found by the endpoint that they called; nobody waits while the index is made.

An index of a partitioned table cannot be made concurrently, but those of its partitions can, and
the table's own takes them over. What an attempt that broke off has left is not valid, and goes.
"""

from django.db import connection, migrations

from executions_app import partitions

NAME = "step_of_endpoint"
WHAT = """
((config -> 'endpoint' ->> 'id'), id) WHERE status IN ('completed', 'failed')
"""
BROKEN = """
SELECT EXISTS (
    SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid
)
"""


def make(_apps: object, _schema_editor: object) -> None:
    with connection.cursor() as cursor:
        for partition in partitions.existing(partitions.STEPS):
            name = f"{partition}_of_endpoint"
            cursor.execute(BROKEN, [name])
            if cursor.fetchone()[0]:
                cursor.execute(f"DROP INDEX CONCURRENTLY {name}")
            cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {partition} {WHAT}")
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {NAME} ON {partitions.STEPS.name} {WHAT}")


def remove(_apps: object, _schema_editor: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {NAME}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("executions_app", "0006_steps_of_cycles")]

    operations = [migrations.RunPython(make, remove)]
