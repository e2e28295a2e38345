"""What the AI did: one cycle for an execution, every call of a model, and what it may still spend.

A cycle belongs to its execution and outlives its attempts: whoever tries the execution again goes
on where the cycle stands.
"""

from __future__ import annotations

from enum import StrEnum

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.schema import NEW_ID


class CycleStage(StrEnum):
    """Where a cycle stands; `wait`: for a free agent."""

    WAIT = "wait"
    PLAN = "plan"
    EXECUTE = "execute"
    SUMMARISE = "summarise"
    SCHEDULE = "schedule"
    DONE = "done"


class CycleStatus(StrEnum):
    """`waiting`: for a person to approve its plan, or approved and not taken up yet."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Tier(StrEnum):
    """Who made the plan, from the best to the last resort; empty while there is none."""

    NONE = ""
    MODEL = "model"
    OTHER_PROVIDER = "other_provider"
    LAST_GOOD = "last_good"
    DETERMINISTIC = "deterministic"
    BASELINE = "baseline"


class Phase(StrEnum):
    """What a model was asked for."""

    ANALYSE = "analyse"
    PLAN = "plan"
    SUMMARISE = "summarise"
    SCHEDULE = "schedule"
    LLM = "llm"
    EMBED = "embed"
    PROBE = "probe"
    REPLAY = "replay"


class CallStatus(StrEnum):
    OK = "ok"
    FAILED = "failed"
    MALFORMED = "malformed"


class Cycle(models.Model):
    """The AI process of one execution: plan, execute, summarise, schedule."""

    id = models.UUIDField(primary_key=True)
    execution_id = models.UUIDField(unique=True)
    schedule_id = models.UUIDField(null=True)
    owner_id = models.IntegerField()
    agent_id = models.UUIDField(null=True, help_text="null while it waits for one, or without AI")
    token = models.UUIDField(help_text="the execution's lease token: the fence of every move")
    queue = models.TextField(default="normal")
    stage = models.TextField(default=CycleStage.PLAN)
    status = models.TextField(default=CycleStatus.RUNNING)
    stage_token = models.UUIDField(null=True, help_text="of the process that carries out a stage")
    stage_expires_at = models.DateTimeField(null=True, help_text="then somebody else may")
    deadline = models.DateTimeField()
    wave = models.IntegerField(default=0)
    waves = models.IntegerField(default=0)
    strategy = models.TextField(default="")
    concurrency = models.IntegerField(default=1)
    analysis = models.JSONField(default=dict, help_text="what the task needs, as the model sees it")
    context = models.JSONField(default=dict, help_text="what the plan was made of")
    plan = models.JSONField(null=True)
    summary = models.TextField(default="")
    tier = models.TextField(default=Tier.NONE)
    tier_reason = models.TextField(default="")
    trouble = models.TextField(
        default="", db_default="", help_text="why no model planned, in a word"
    )
    notes = models.JSONField(default=list, help_text="what was salvaged, replaced or left out")
    seen_version = models.IntegerField(default=0, help_text="of the schedule as it was planned")
    seen_next_run_at = models.DateTimeField(null=True)
    advice = models.JSONField(null=True, help_text="when to run next, and who says so")
    decision_id = models.UUIDField(null=True, help_text="what the scheduler made of the advice")
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    timings = models.JSONField(default=dict, help_text="{stage: milliseconds}")
    usage = models.JSONField(
        null=True, help_text="what its stages took of the machine, its steps apart"
    )
    redriven = models.IntegerField(default=0)
    look_at = models.DateTimeField(
        null=True, db_default=Now(), help_text="then a beat looks whether somebody carries it on"
    )
    started_at = models.DateTimeField(
        db_default=Now(), help_text="when it was given an agent; until then, when it was made"
    )
    completed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cycles"
        constraints = [
            models.CheckConstraint(name="cycle_stage_known", condition=one_of("stage", CycleStage)),
            models.CheckConstraint(
                name="cycle_status_known", condition=one_of("status", CycleStatus)
            ),
            models.CheckConstraint(name="cycle_tier_known", condition=one_of("tier", Tier)),
        ]
        indexes = [
            models.Index(
                name="cycle_running",
                fields=["stage", "agent_id"],
                condition=models.Q(status="running"),
            ),
            # Those that wait for an agent apart, so that many of them are in nobody's way.
            models.Index(
                name="cycle_to_look_at",
                fields=["look_at"],
                condition=models.Q(look_at__isnull=False) & ~models.Q(stage="wait"),
            ),
            models.Index(
                name="cycle_waiting_to_look_at",
                fields=["look_at"],
                condition=models.Q(look_at__isnull=False, stage="wait"),
            ),
            models.Index(
                name="cycle_advice_to_take",
                fields=["id"],
                condition=models.Q(advice__isnull=False, decision_id__isnull=True),
            ),
            models.Index(name="cycle_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="cycle_of_agent", fields=["agent_id", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.stage} {self.status}"


class ModelCall(models.Model):
    """One call of a model, whether it succeeded or not: what it was asked, said and cost."""

    id = models.UUIDField(primary_key=True)
    execution_id = models.UUIDField(null=True)
    cycle_id = models.UUIDField(null=True)
    schedule_id = models.UUIDField(null=True)
    owner_id = models.IntegerField(null=True)
    agent_id = models.UUIDField(null=True)
    provider = models.TextField()
    model = models.TextField()
    phase = models.TextField()
    attempt = models.IntegerField(default=1, help_text="of asking for this answer, from 1")
    is_repair = models.BooleanField(default=False)
    template = models.TextField(default="")
    template_hash = models.TextField(default="")
    mode = models.TextField(default="")
    request = models.JSONField(default=list, help_text="the messages, scrubbed and cut")
    response = models.TextField(default="", help_text="scrubbed and cut")
    finish_reason = models.TextField(default="", db_default="", help_text="why the answer ended")
    grounds = models.JSONField(null=True, help_text="what the answer was checked against")
    status = models.TextField()
    failure_class = models.TextField(default="", help_text="of the error taxonomy")
    failure = models.TextField(default="")
    malformed_class = models.TextField(default="")
    problems = models.JSONField(default=list)
    prompt_tokens = models.IntegerField(default=0)
    completion_tokens = models.IntegerField(default=0)
    is_estimated = models.BooleanField(default=False, help_text="the provider reported no usage")
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    latency_ms = models.IntegerField(default=0)
    first_token_ms = models.IntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "model_calls"
        constraints = [
            models.CheckConstraint(
                name="model_call_status_known", condition=one_of("status", CallStatus)
            ),
            models.CheckConstraint(name="model_call_phase_known", condition=one_of("phase", Phase)),
        ]
        indexes = [
            models.Index(name="model_call_of_execution", fields=["execution_id", "id"]),
            models.Index(name="model_call_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="model_call_of_owner", fields=["owner_id", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.phase} {self.model} {self.status}"


class Reservation(models.Model):
    """Tokens and money set aside for a call that is under way; counted until it is settled."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    scopes = ArrayField(
        models.TextField(), help_text="cycle:ID, schedule:ID:DAY, agent:ID:DAY, system:DAY"
    )
    tokens = models.BigIntegerField()
    usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    is_estimated = models.BooleanField(default=False, help_text="never settled: at its maximum")
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "token_reservations"
        indexes = [
            models.Index(
                name="reservation_unsettled",
                fields=["expires_at"],
                condition=models.Q(settled_at__isnull=True),
            ),
            GinIndex(name="reservation_of_scope", fields=["scopes"]),
        ]
