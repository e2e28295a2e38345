"""What an agent remembers of earlier cycles: outcomes, messages and facts, the newest of each."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.db.models.functions import Now

from agents_app.models_objects import Agent
from executions_app.models import one_of
from executions_app.schema import NEW_ID


class MemoryKind(StrEnum):
    OUTCOME = "outcome"
    MESSAGE = "message"
    FACT = "fact"


class Memory(models.Model):
    """One thing that an agent may be reminded of; `embedding` where an endpoint makes them."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, db_index=False)
    owner_id = models.IntegerField()
    schedule_id = models.UUIDField(null=True)
    execution_id = models.UUIDField(null=True)
    kind = models.TextField()
    text = models.TextField()
    embedding = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "agent_memories"
        verbose_name_plural = "memories"
        constraints = [
            models.CheckConstraint(name="memory_kind_known", condition=one_of("kind", MemoryKind)),
        ]
        indexes = [
            models.Index(name="memory_of_agent", fields=["agent", "schedule_id", "kind", "id"])
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text[:60]}"
