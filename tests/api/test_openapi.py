"""The document of the API: complete, current, and the one that is committed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from django.core.management import call_command

from tests.factories import UserFactory
from tests.rest import signed_in

COMMITTED = Path(__file__).resolve().parents[2] / "openapi.yaml"
WITHOUT_A_KEY = {
    # A delivery has an id of its own, and nobody is signed in.
    "/api/webhooks/{trigger_id}",
    # The first answer would be kept for repeats, and a secret is kept nowhere.
    "/api/scheduler/schedules/{schedule_id}/webhook-secret",
}
FIXED_PATHS = {
    "/api/agents": {"get", "post"},
    "/api/agents/{agent_id}": {"get", "patch", "delete"},
    "/api/agents/{agent_id}/capacity": {"get"},
    "/api/agents/{agent_id}/schedule": {"get", "post", "delete"},
    "/api/agents/{agent_id}/sessions": {"get"},
    "/api/agents/scheduled": {"get"},
    "/api/agents/approvals": {"get"},
    "/api/agents/approvals/{approval_id}": {"get"},
    "/api/agents/approvals/{approval_id}/approve": {"post"},
    "/api/agents/approvals/{approval_id}/reject": {"post"},
    "/api/agents/providers": {"get", "post"},
    "/api/agents/endpoints": {"get", "post"},
    "/api/agents/credentials": {"get", "post"},
    "/api/scheduler/schedules/{schedule_id}/webhook-secret": {"post"},
    "/api/webhooks/{trigger_id}": {"post"},
    "/api/scheduler/schedules": {"get", "post"},
    "/api/scheduler/schedules/{schedule_id}": {"get", "put", "patch", "delete"},
    "/api/scheduler/schedules/{schedule_id}/trigger": {"post"},
    "/api/scheduler/schedules/{schedule_id}/stats": {"get"},
    "/api/scheduler/schedules/{schedule_id}/decisions": {"get"},
    "/api/scheduler/decisions": {"get"},
    "/api/scheduler/decisions/{decision_id}": {"get"},
    "/api/scheduler/decisions/{decision_id}/approve": {"post"},
    "/api/scheduler/decisions/{decision_id}/reject": {"post"},
    "/api/scheduler/decisions/{decision_id}/revert": {"post"},
    "/api/scheduler/start": {"post"},
    "/api/scheduler/stop": {"post"},
    "/api/scheduler/status": {"get"},
    "/api/scheduler/preview": {"post"},
    "/api/scheduler/locks": {"get"},
    "/api/scheduler/locks/{execution_id}": {"get", "delete"},
    "/api/execution/executions": {"get"},
    "/api/execution/executions/{execution_id}": {"get"},
    "/api/execution/executions/{execution_id}/cycle": {"get"},
    "/api/execution/executions/{execution_id}/steps": {"get"},
    "/api/execution/executions/{execution_id}/progress": {"get"},
    "/api/execution/executions/{execution_id}/cancel": {"post"},
    "/api/execution/executions/{execution_id}/abort": {"post"},
    "/api/errors/errors": {"get"},
    "/api/errors/errors/{error_id}": {"get"},
    "/api/errors/errors/{error_id}/retry": {"post"},
    "/api/errors/errors/{error_id}/resolve": {"post"},
    "/api/errors/errors/{error_id}/ignore": {"post"},
    "/api/errors/errors/{error_id}/escalate": {"post"},
    "/api/errors/status": {"get"},
    "/api/errors/dead-letters": {"get"},
    "/api/errors/dead-letters/{letter_id}/requeue": {"post"},
    "/api/errors/dead-letters/{letter_id}/discard": {"post"},
    "/api/health": {"get"},
    "/api/health/live": {"get"},
    "/api/health/ready": {"get"},
}


def test_the_committed_document_is_the_current_one(tmp_path: Path) -> None:
    current = tmp_path / "openapi.yaml"

    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(current))

    assert COMMITTED.read_text() == current.read_text(), "cp .cadenza/openapi.yaml openapi.yaml"


def test_every_fixed_path_is_in_the_document() -> None:
    paths = yaml.safe_load(COMMITTED.read_text())["paths"]

    missing = {
        path: methods - paths.get(path, {}).keys()
        for path, methods in FIXED_PATHS.items()
        if methods - paths.get(path, {}).keys()
    }
    assert missing == {}


def test_every_post_honours_an_idempotency_key() -> None:
    paths = yaml.safe_load(COMMITTED.read_text())["paths"]

    without = {
        path
        for path, operations in paths.items()
        if "post" in operations
        and "Idempotency-Key"
        not in [one["name"] for one in operations["post"].get("parameters", [])]
    }
    assert without == WITHOUT_A_KEY


@pytest.mark.django_db
def test_the_document_is_served() -> None:
    answer = signed_in(UserFactory.create()).get("/api/schema")

    assert answer.status_code == 200
    assert yaml.safe_load(answer.content)["info"]["title"] == "Cadenza"
