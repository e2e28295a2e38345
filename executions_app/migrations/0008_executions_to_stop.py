"""What was asked to stop is found without reading what runs; nobody waits while it is indexed.

As for the steps of an endpoint: the index of each month is made concurrently, and that of the table
takes them over. Steps under way are found by their cycle, so their own index goes.
"""

from django.db import connection, migrations, models

from executions_app import partitions

NAME = "execution_to_stop"
WHAT = "(id) WHERE status = 'running' AND cancel_requested_at IS NOT NULL"


def make(_apps: object, _schema_editor: object) -> None:
    partitions.make_index(partitions.EXECUTIONS, NAME, suffix="to_stop", what=WHAT)


def remove(_apps: object, _schema_editor: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {NAME}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("executions_app", "0007_steps_of_an_endpoint")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(make, remove)],
            state_operations=[
                migrations.AddIndex(
                    model_name="execution",
                    index=models.Index(
                        condition=models.Q(
                            ("cancel_requested_at__isnull", False), ("status", "running")
                        ),
                        fields=["id"],
                        name=NAME,
                    ),
                ),
            ],
        ),
        migrations.RemoveIndex(model_name="step", name="step_live"),
    ]
