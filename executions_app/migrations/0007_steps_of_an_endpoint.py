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


def make(_apps: object, _schema_editor: object) -> None:
    partitions.make_index(partitions.STEPS, NAME, suffix="of_endpoint", what=WHAT)


def remove(_apps: object, _schema_editor: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {NAME}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("executions_app", "0006_steps_of_cycles")]

    operations = [migrations.RunPython(make, remove)]
