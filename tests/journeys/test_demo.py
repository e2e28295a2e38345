"""`manage.py demo` on real processes: it proves what is true, and sees a lie told afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config import embedded
from config.demo import ledger
from config.env import CHECKOUT


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), "demo", "--json", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place of its own in which PostgreSQL, perhaps as another user, may run."""
    with tempfile.TemporaryDirectory(prefix="cadenza-test-") as made:
        if os.geteuid() == 0:
            Path(made).chmod(0o755)
        yield Path(made) / "kept"


@pytest.fixture(scope="module")
def proof(folder: Path) -> subprocess.CompletedProcess[str]:
    """The proof, run once for all tests of this module."""
    return demo("--keep", str(folder))


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in document["schedules"]}


@pytest.mark.journey
def test_the_proof_succeeds_and_says_what_every_schedule_did(
    proof: subprocess.CompletedProcess[str],
) -> None:
    assert proof.returncode == 0, proof.stderr + proof.stdout

    document = json.loads(proof.stdout)
    found = by_name(document)
    assert document["disagreements"] == []
    assert found["demo: each minute in Berlin"]["executions"]["completed"] >= 2
    assert found["demo: dead, given up each time"]["executions"]["failed"] >= 2
    assert found["demo: dead, given up each time"]["recovery"]["escalated"] >= 2 * 3
    assert found["demo: once, soon"]["fires"] == {"dispatched": 1}
    assert found["demo: steady, every second"]["start_latency_ms_p95"] > 0
    planned = found["demo: an AI plans these calls"]
    assert planned["executions"]["completed"] >= 2
    assert planned["tiers"] == {"deterministic": planned["executions"]["completed"]}


@pytest.mark.journey
def test_a_kept_proof_is_judged_the_same_again(
    proof: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert proof.returncode == 0, proof.stderr + proof.stdout

    again = demo("--judge", str(folder))

    assert again.returncode == 0, again.stderr + again.stdout
    assert json.loads(again.stdout)["judged_at"] == json.loads(proof.stdout)["judged_at"]


@pytest.mark.journey
def test_a_deleted_execution_and_a_doubled_call_are_seen(
    proof: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert proof.returncode == 0, proof.stderr + proof.stdout
    path = ledger.path_in(folder)
    deleted, doubled = [one for one in ledger.read(path) if one.endpoint == "/steady"][:2]
    untampered = path.read_bytes()
    with embedded.start(folder) as owner, psycopg.connect(owner.services.database_url) as tables:
        tables.execute("DELETE FROM task_executions WHERE id = %s", [deleted.idempotency_key])
    lines = untampered.decode().splitlines()
    arrival = next(line for line in lines if f'"{doubled.call}"' in line)
    path.write_bytes(untampered + arrival.replace(doubled.call, "again").encode() + b"\n")

    verdict = demo("--judge", str(folder))

    assert verdict.returncode == 1, verdict.stderr + verdict.stdout
    said = "\n".join(json.loads(verdict.stdout)["disagreements"])
    assert "was dispatched, but its execution is missing" in said
    assert f"(key '{deleted.idempotency_key}') belongs to no execution" in said
    assert "called /steady 2 times in attempt 1" in said


@pytest.mark.journey
def test_a_folder_with_something_in_it_is_refused() -> None:
    with tempfile.TemporaryDirectory(prefix="cadenza-test-") as made:
        if os.geteuid() == 0:
            Path(made).chmod(0o755)
        (Path(made) / "precious").touch()

        refused = demo("--keep", made)

    assert refused.returncode == 1
    assert "is not empty" in refused.stderr
