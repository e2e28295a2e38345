"""What the AI did, in the admin: cycles and calls of models; read-only.

What people set (credentials, providers, agents, endpoints, what agents are told) is registered on
the floor above, whose forms it shares.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin

from agents_app.models import (
    Cycle,
    CycleStage,
    CycleStatus,
    ModelCall,
    PlanApproval,
    Reservation,
    Tier,
)
from agents_app.models_cycles import CallStatus, Phase
from executions_app.admin_records import RecordAdmin, Rows, Since, one_of
from executions_app.states import ApprovalStatus


class OfOwnerAdmin(RecordAdmin):
    """Records that belong to whom their execution belongs to."""

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)


@admin.register(Cycle)
class CycleAdmin(OfOwnerAdmin):
    list_display = (
        "started_at", "execution_id", "stage", "status", "tier", "wave", "waves", "tokens",
        "cost_usd", "completed_at",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (
        Since,
        one_of("status", CycleStatus),
        one_of("stage", CycleStage),
        one_of("tier", Tier),
    )
    search_fields = ("=execution_id", "=schedule_id", "=agent_id", "=id")
    search_help_text = "the id of an execution, a schedule, an agent or a cycle"
    exclude = ("token", "stage_token")

    @admin.display(description="tokens")
    def tokens(self, row: Cycle) -> int:
        return row.prompt_tokens + row.completion_tokens


@admin.register(PlanApproval)
class PlanApprovalAdmin(OfOwnerAdmin):
    list_display = (
        "created_at", "execution_id", "status", "asked_for", "expires_at", "decided_by",
        "decided_at", "reason",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (Since, one_of("status", ApprovalStatus))
    list_select_related = ("decided_by",)
    search_fields = ("=execution_id", "=schedule_id", "=cycle_id", "=id")
    search_help_text = "the id of an execution, a schedule, a cycle or a plan"


@admin.register(ModelCall)
class ModelCallAdmin(OfOwnerAdmin):
    list_display = (
        "created_at", "phase", "provider", "model", "status", "failure_class", "malformed_class",
        "tokens", "cost_usd", "latency_ms", "attempt",
    )  # fmt: skip
    list_filter: ClassVar[Any] = (
        Since,
        one_of("status", CallStatus),
        one_of("phase", Phase),
    )
    search_fields = ("=execution_id", "=cycle_id", "=schedule_id", "=agent_id", "=model")
    search_help_text = "the id of an execution, a cycle, a schedule or an agent; a whole model name"

    @admin.display(description="tokens")
    def tokens(self, row: ModelCall) -> str:
        counted = row.prompt_tokens + row.completion_tokens
        return f"about {counted}" if row.is_estimated else str(counted)


@admin.register(Reservation)
class ReservationAdmin(RecordAdmin):
    list_display = ("created_at", "tokens", "usd", "is_estimated", "expires_at", "settled_at")
    list_filter: ClassVar[Any] = (Since, ("settled_at", admin.EmptyFieldListFilter))
