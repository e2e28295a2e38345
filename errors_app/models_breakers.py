"""Endpoints as the calls of executions found them: the last state of each, and how it came there.

Redis decides and forgets; these rows remember, and are all there is to see while Redis is away.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.states import BreakerStatus


class Breaker(models.Model):
    """The breaker of one endpoint, in the state of its last transition."""

    id = models.UUIDField(primary_key=True)
    key = models.TextField(unique=True, help_text="the endpoint, such as https://example.com:443")
    state = models.TextField(default=BreakerStatus.CLOSED)
    since = models.DateTimeField(null=True, help_text="null: closed since its first call")
    next_probe_at = models.DateTimeField(null=True, help_text="of an open one")
    reason = models.TextField(default="")
    opened_count = models.IntegerField(default=0)
    seen_at = models.DateTimeField(help_text="a call was made, to the hour")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "breakers"
        constraints = [
            models.CheckConstraint(
                name="breaker_state_known", condition=one_of("state", BreakerStatus)
            ),
        ]
        indexes = [
            models.Index(
                name="breaker_not_closed", fields=["id"], condition=~Q(state=BreakerStatus.CLOSED)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} is {self.state}"


class BreakerTransition(models.Model):
    """One change of state; written once, by the process whose word to Redis made it."""

    id = models.UUIDField(primary_key=True)
    key = models.TextField()
    from_state = models.TextField()
    to_state = models.TextField()
    reason = models.TextField()
    failures = models.IntegerField(help_text="in the window, when it happened")
    calls = models.IntegerField(help_text="in the window, when it happened")
    at = models.DateTimeField(help_text="by the clock of Redis")
    worker = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "breaker_transitions"
        constraints = [
            models.CheckConstraint(
                name="breaker_transition_from_known",
                condition=one_of("from_state", BreakerStatus),
            ),
            models.CheckConstraint(
                name="breaker_transition_to_known", condition=one_of("to_state", BreakerStatus)
            ),
        ]
        indexes = [models.Index(name="breaker_transition_of_key", fields=["key", "id"])]

    def __str__(self) -> str:
        return f"{self.key}: {self.from_state} to {self.to_state}"
