"""The terminal's door: exit codes, two lines of error, one document, and personal tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import redis
from django.contrib.auth.models import User
from django.db import OperationalError, ProgrammingError

from executions_app import clock, tokens
from executions_app.command_problems import CommandProblem, Exit, problem_of
from executions_app.commands import execution_named, one_line
from executions_app.ledger import Claimed
from executions_app.models import ApiToken, AuditEntry, Execution
from executions_app.states import ExecutionStatus, IllegalMove, LostRace
from executions_app.wording import moment, why
from tests.terminal import run

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY_LISTENS = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (LostRace("moved"), Exit.TRY_AGAIN),
        (IllegalMove("no arrow"), Exit.REFUSED),
        (OperationalError("refused"), Exit.UNAVAILABLE),
        (ProgrammingError("no table"), Exit.UNAVAILABLE),
        (redis.ConnectionError("refused"), Exit.UNAVAILABLE),
        (TimeoutError("too long"), Exit.TIMEOUT),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
)
def test_every_foreseen_exception_has_an_exit_code_a_fact_and_a_next_step(
    error: BaseException, exit_code: Exit
) -> None:
    problem = problem_of(error)

    assert problem is not None
    assert problem.exit_code is exit_code
    assert problem.what
    assert problem.todo


def test_an_unforeseen_exception_is_not_explained_away() -> None:
    assert problem_of(KeyError("a bug")) is None


def test_foreign_text_cannot_break_out_of_its_line() -> None:
    assert one_line("a\nb\x1b[31mc") == "a b [31mc"


def on_a_terminal(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_command_says_in_two_lines_that_postgresql_is_away() -> None:
    ended = on_a_terminal("token", "list", "--json", **NOBODY_LISTENS)

    assert ended.returncode == 69
    assert len(ended.stderr.splitlines()) == 2
    assert json.loads(ended.stdout)["error"]["code"] == "unavailable"


def test_a_wrong_option_ends_with_2_and_stores_nothing() -> None:
    ended = on_a_terminal("token", "create", "--nonsense", **NOBODY_LISTENS)

    assert ended.returncode == 2
    assert "--nonsense" in ended.stderr or "--user" in ended.stderr


@pytest.mark.django_db
def test_a_created_token_is_shown_once_and_opens_the_door() -> None:
    user = User.objects.create_user("machine")

    ended = run("token", "create", "--user", "machine", "--json")

    plain = ended.document["token"]
    verified = tokens.verify(plain, now=clock.now())
    assert ended.exit_code == 0
    assert verified is not None
    assert verified.user == user
    assert plain not in run("token", "list", "--json").stdout


@pytest.mark.django_db
def test_a_token_for_nobody_is_not_created() -> None:
    ended = run("token", "create", "--user", "nobody", "--json")

    assert ended.exit_code == 4
    assert "nobody" in ended.stderr
    assert ended.document["error"]["code"] == "not_found"
    assert not ApiToken.objects.exists()


@pytest.mark.django_db
def test_a_token_that_has_expired_already_is_not_created() -> None:
    User.objects.create_user("machine")

    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    ended = run("token", "create", "--user", "machine", "--expires-at", past, "--json")

    assert ended.exit_code == 2
    assert list(ended.document["error"]["fields"]) == ["expires_at"]
    assert not ApiToken.objects.exists()


@pytest.mark.django_db
def test_a_revoked_token_is_refused_and_the_revocation_audited() -> None:
    User.objects.create_superuser("root")
    plain = run("token", "create", "--user", "root", "--json").document["token"]

    ended = run("token", "revoke", plain[: tokens.SHOWN_CHARACTERS])

    assert ended.exit_code == 0
    assert tokens.verify(plain, now=clock.now()) is None
    assert AuditEntry.objects.get(action="token.revoked").actor == "root"


@pytest.mark.django_db
def test_retention_tells_that_every_large_table_has_its_months() -> None:
    ended = run("retention", "--json")

    months = {name: len(made) for name, made in ended.document["partitions"].items()}
    assert months.keys() == {
        "task_executions", "execution_steps", "events", "error_records", "model_calls",
        "fire_records",
    }  # fmt: skip
    assert min(months.values()) >= 4


@pytest.mark.django_db
def test_an_execution_is_found_by_number_and_by_id(create: Callable[..., UUID]) -> None:
    execution = Execution.objects.get(id=create())

    assert execution_named(str(execution.id)) == execution
    assert execution_named(f"#{execution.number}") == execution
    with pytest.raises(CommandProblem, match="no execution '999999999'"):
        execution_named("999999999")


@pytest.mark.django_db
def test_why_names_the_attempt_the_worker_and_an_expired_lease(
    claim: Callable[..., Claimed],
) -> None:
    running = Execution.objects.get(id=claim().id)
    now = clock.now()

    alive, lost = why(running, now=now), why(running, now=now + timedelta(hours=1))

    assert "Attempt 1 of 4 runs on worker 'worker-1'" in alive
    assert "stopped renewing" not in alive
    assert "stopped renewing its lease; the rescuer takes it next" in lost


@pytest.mark.parametrize("status", list(ExecutionStatus))
def test_every_status_has_words(status: ExecutionStatus) -> None:
    now = datetime(2026, 12, 1, 9, tzinfo=UTC)
    execution = Execution(
        status=status, due_at=now, queued_at=now, started_at=now, completed_at=now, attempt=1
    )

    assert why(execution, now=now).endswith(".")


@pytest.mark.parametrize(
    ("away", "words"),
    [
        (timedelta(minutes=3, seconds=5), "in 3 min 5 s"),
        (-timedelta(seconds=42), "42 s ago"),
        (timedelta(milliseconds=10), "now"),
        (timedelta(days=2, hours=3, minutes=1), "in 2 d"),
    ],
)
def test_an_instant_is_told_in_utc_and_from_now(away: timedelta, words: str) -> None:
    now = datetime(2026, 12, 1, 9, tzinfo=UTC)

    assert moment(now + away, now=now).endswith(f"Z ({words})")
