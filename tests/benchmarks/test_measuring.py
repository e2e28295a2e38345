"""One target for real, tiny: services, processes, a peerless session and its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report, run
from benchmarks.bench import Bench
from benchmarks.table import OURS, Measured
from benchmarks.targets import drain


def few(bench: Bench) -> Measured:
    found, notes, profile = drain.ours_drained(
        bench, predicted_ms=1.0, most_per_message=None, count=200
    )
    return Measured(found, notes=notes, profile=profile)


@pytest.mark.benchmark
def test_a_tiny_backlog_is_drained_and_told(tmp_path: Path) -> None:
    wanted = run.Wanted(
        [replace(drain.TARGET, measure=few)],
        runs=1,
        is_quick=False,
        with_peers=False,
        cache=tmp_path,
    )

    session = run.measure(wanted, lambda _words: None)

    (result,) = session.results
    assert result.problem == ""
    assert result.measured.runs[OURS][0] > 0
    assert session.settings["fsync"] == session.settings["synchronous_commit"] == "on"
    assert "0 of 1 targets met" in report.text(session)
    profile = result.measured.profile
    assert profile is not None
    used = {row["process"]: row["own code (s)"] + row["kernel (s)"] for row in profile.processes}
    assert {"worker_io", "worker_low", "worker_process", "postgres", "redis"} <= used.keys()
    assert used["worker_io"] > 0
    assert "| worker_io |" in report.markdown(session)
