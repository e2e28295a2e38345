"""What tests of answers share: rights, answers as models write them, and a scripted door."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

from agents_app.clients.llm_errors import ModelError
from agents_app.clients.llm_question import Answer, Message, Question
from agents_app.models import Provider
from agents_app.models_cycles import Phase
from agents_app.planning.authority import Offer, Rights, grant
from agents_app.planning.judging import AdviceContract, AnalysisContract, PlanContract
from agents_app.planning.validation import AdviceLimits, PlanLimits
from errors_app.taxonomy import ErrorClass

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
REGION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "enum": ["eu", "us"]},
        "count": {"type": "integer"},
    },
    "required": ["region"],
    "additionalProperties": False,
}
REGISTERED: Final = (
    Offer(target="endpoint", name="warm", side_effect="read"),
    Offer(target="endpoint", name="deploy", schema=REGION, side_effect="write"),
    Offer(target="endpoint", name="payroll", side_effect="write"),
    Offer(target="endpoint", name="retired", enabled=False),
    Offer(target="tool", name="search", side_effect="read"),
    Offer(target="tool", name="shell", side_effect="write"),
)
RIGHTS: Final[Rights] = grant(
    REGISTERED,
    endpoints=("warm", "deploy", "retired"),
    tools=("search", "shell"),
    agent_tools=("search",),
)


def plan_contract(**limits: Any) -> PlanContract:
    known: dict[str, Any] = {"most_steps": 5, "most_concurrency": 4}
    return PlanContract(rights=RIGHTS, limits=PlanLimits(**known | limits))


def advice_contract(**limits: Any) -> AdviceContract:
    known: dict[str, Any] = {"now": NOW, "min_interval_ms": 60_000, "max_interval_ms": 86_400_000}
    return AdviceContract(limits=AdviceLimits(**known | limits))


def analysis_contract() -> AnalysisContract:
    return AnalysisContract(tools=("search",), most_parts=5)


def step(id_: str = "a", **changes: Any) -> dict[str, Any]:
    """A valid step; GONE as a value leaves a field out."""
    said: dict[str, Any] = {
        "id": id_,
        "target": "endpoint",
        "name": "warm",
        "parameters_json": "{}",
        "depends_on": [],
        "priority": 50,
        "critical": False,
        "reason": "because",
    }
    return _changed(said, changes)


def plan(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "strategy": "dependency",
        "concurrency": 2,
        "steps": list(steps) or [step()],
        "reason": "it is time",
        "confidence": 0.8,
    }
    return _changed(said, changes)


def advice(action: object = "keep", **changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "action": action,
        "next_run_at": None,
        "interval_ms": None,
        "pause_until": None,
        "reason": "quiet",
        "confidence": 0.5,
        "recommended_actions": [],
    }
    return _changed(said, changes)


def analysis(**changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "needs": ["http"],
        "complexity": "low",
        "required_tools": ["search"],
        "sub_tasks": [
            {"id": "look", "goal": "find it", "depends_on": []},
            {"id": "tell", "goal": "say it", "depends_on": ["look"]},
        ],
        "reason": "simple",
    }
    return _changed(said, changes)


GONE: Final = object()


def _changed(said: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (said | changes).items() if value is not GONE}


def text(value: object) -> str:
    return json.dumps(value)


def question(**changes: Any) -> Question:
    known: dict[str, Any] = {
        "provider": Provider(name="p"),
        "model": "m",
        "messages": (Message("system", "You plan."), Message("user", "Plan this.")),
        "phase": Phase.PLAN,
        "deadline": 0.0,
    }
    return Question(**known | changes)


def empty_answer() -> ModelError:
    """What the door raises when a model has answered nothing."""
    error = ModelError(
        "nothing", error_class=ErrorClass.MALFORMED, malformed_class="empty_response"
    )
    error.call_id = uuid4()
    return error


@dataclass
class Script:
    """Answers one question after the other as written; an exception is raised."""

    answers: Sequence[str | Exception]
    finish_reason: str = "stop"
    asked: list[Question] = field(default_factory=list)
    call_ids: list[UUID] = field(default_factory=list)
    marks: list[tuple[UUID, str, list[str]]] = field(default_factory=list)

    def ask(self, asked: Question) -> Answer:
        said = self.answers[len(self.asked)]
        self.asked.append(asked)
        if isinstance(said, Exception):
            raise said
        self.call_ids.append(uuid4())
        return Answer(
            text=said,
            call_id=self.call_ids[-1],
            prompt_tokens=1,
            completion_tokens=1,
            is_estimated=False,
            cost_usd=Decimal(0),
            latency_ms=1,
            first_token_ms=None,
            mode="json_schema",
            finish_reason=self.finish_reason,
        )

    def mark(self, call_id: UUID, malformed_class: str, problems: Sequence[str]) -> None:
        self.marks.append((call_id, malformed_class, list(problems)))
