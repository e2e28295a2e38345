"""The hosts that a credential may travel to.

Rows stay as they are: a shared one without hosts travels as before, and `doctor` names it.
"""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents_app", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="credential",
            name="hosts",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(),
                blank=True,
                db_default=[],
                default=list,
                help_text="where it may travel; empty: anywhere, which a shared one may not",
                size=None,
            ),
        ),
    ]
