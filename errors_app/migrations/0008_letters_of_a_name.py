"""Dead letters are found by the name of their schedule; nobody waits while the index is made."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("errors_app", "0007_token_spikes")]

    operations = [
        # What an attempt that broke off has left is not valid, and goes.
        migrations.RunSQL(
            "DROP INDEX CONCURRENTLY IF EXISTS dead_letter_of_name", migrations.RunSQL.noop
        ),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY dead_letter_of_name "
            "ON dead_letters ((payload #>> '{snapshot,name}'), id)",
            "DROP INDEX CONCURRENTLY IF EXISTS dead_letter_of_name",
        ),
    ]
