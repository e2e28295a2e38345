"""What a sampler saw becomes a table of the functions that processes were in most."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import profile, report
from benchmarks.profile import Profile
from benchmarks.table import OURS
from tests.benchmarks.found import result, session

STACKS = """\
main (run.py:1);work (shift.py:40);claim (executions_app/ledger.py:12) 6
main (run.py:1);work (shift.py:44);claim (executions_app/ledger.py:15) 3
main (run.py:1);wait (threading.py:327) 1
broken line
"""


def test_samples_are_counted_by_the_innermost_function_whatever_its_line() -> None:
    found = profile.leaves(STACKS)

    assert found == {"claim (executions_app/ledger.py)": 9, "wait (threading.py)": 1}


def test_the_functions_of_a_process_are_told_by_their_share() -> None:
    rows = profile.function_rows({"worker_io": profile.leaves(STACKS), "idle": profile.leaves("")})

    assert [(row["process"], row["seen"]) for row in rows] == [
        ("worker_io", "90%"),
        ("worker_io", "10%"),
    ]


def test_the_report_says_where_the_time_went() -> None:
    taken = Profile(
        [{"process": "redis", "own code (s)": 0.2, "kernel (s)": 0.1, "of all": "100%"}],
        profile.function_rows({"worker_io": profile.leaves(STACKS)}),
    )
    found = result({OURS: [1.0]})
    found = replace(found, measured=replace(found.measured, profile=taken))

    page = report.markdown(session(found))

    assert "| redis | 0.2 | 0.1 | 100% |" in page
    assert "| worker_io | 90% | `claim (executions_app/ledger.py)` |" in page
