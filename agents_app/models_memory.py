"""What an agent is reminded of in the next cycle: outcomes, messages of people, and facts."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from agents_app.models_objects import Agent
from executions_app.models import one_of
from executions_app.schema import NEW_ID


class MemoryKind(StrEnum):
    OUTCOME = "outcome"
    MESSAGE = "message"
    FACT = "fact"


class Real(models.FloatField):  # type: ignore[type-arg]  # not generic at run time
    """A number of four bytes: what vectors are made of."""

    def db_type(self, connection: Any) -> str:  # noqa: ARG002  there is one engine
        return "real"


class Memory(models.Model):
    """One thing that an agent may be reminded of when it works for this owner.

    `vector`: where its text lies among all texts, by the model of `space`; vectors of two spaces
    have nothing to do with each other.
    """

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, db_index=False)
    owner_id = models.IntegerField(null=True, help_text="empty: whoever it works for")
    schedule_id = models.UUIDField(null=True)
    execution_id = models.UUIDField(null=True)
    kind = models.TextField()
    text = models.TextField()
    author = models.TextField(
        default="", db_default="", help_text="the person who left it; empty: the agent"
    )
    space = models.TextField(default="", db_default="")
    vector = ArrayField(Real(), null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "agent_memories"
        verbose_name_plural = "memories"
        constraints = [
            models.CheckConstraint(name="memory_kind_known", condition=one_of("kind", MemoryKind)),
        ]
        indexes = [
            models.Index(
                name="memory_of_owner",
                fields=["agent", "owner_id", "schedule_id", "kind", "id"],
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text[:60]}"
