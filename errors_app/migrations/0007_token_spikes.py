"""Rules may look for spikes in tokens, and every installation begins with one that does."""

import json

from django.db import migrations, models

KINDS = [
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
    "token_spike",
]
PARAMETERS = {
    "factor": 3.0,
    "min_tokens": 1000,
    "min_cycles": 5,
    "trail": 20,
    "window_ms": 60 * 60_000,
}
# A rule of this name that people have made already is theirs.
ADD_RULE = """
INSERT INTO alert_rules (name, kind, parameters, severity, channels, enabled, problem, version)
VALUES ('A cycle used far more tokens', 'token_spike', %s::jsonb, 'medium', '[]', true, '', 1)
ON CONFLICT (name) DO NOTHING
"""
REMOVE_RULES = "DELETE FROM alert_rules WHERE kind = 'token_spike'"


class Migration(migrations.Migration):
    dependencies = [("errors_app", "0006_open_incidents_of_a_schedule")]

    operations = [
        migrations.RemoveConstraint(model_name="alertrule", name="alert_rule_kind_known"),
        migrations.AddConstraint(
            model_name="alertrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", KINDS)), name="alert_rule_kind_known"
            ),
        ),
        migrations.RunSQL([(ADD_RULE, [json.dumps(PARAMETERS)])], REMOVE_RULES),
    ]
