"""What is queued is found queue by queue without reading the rows of the others.

As for what was asked to stop: the index of each month is made concurrently, and that of the table
takes them over. It stands in for the one that did not know the queue.
"""

from django.db import connection, migrations, models

from executions_app import partitions

NAME = "execution_queued_sent"
WHAT = "(published_at, queue) WHERE status = 'queued'"


def make(_apps: object, _schema_editor: object) -> None:
    partitions.make_index(partitions.EXECUTIONS, NAME, suffix="queued_sent", what=WHAT)


def remove(_apps: object, _schema_editor: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {NAME}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("executions_app", "0010_usage_of_steps")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(make, remove)],
            state_operations=[
                migrations.AddIndex(
                    model_name="execution",
                    index=models.Index(
                        condition=models.Q(("status", "queued")),
                        fields=["published_at", "queue"],
                        name=NAME,
                    ),
                ),
            ],
        ),
        migrations.RemoveIndex(model_name="execution", name="execution_queued_published"),
    ]
