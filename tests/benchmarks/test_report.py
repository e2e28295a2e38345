"""What a session becomes: text, JSON, a page, and an exit code."""

from __future__ import annotations

import json

from benchmarks import report
from benchmarks.table import OURS
from tests.benchmarks.found import PEER, result, session, target

MET = result({OURS: [1_500.0, 1_400.0, 1_600.0], PEER: [100.0]})
MISSED = result({OURS: [500.0], PEER: [100.0]}, of=target("T9"))
OPEN = result({OURS: [500.0], PEER: []})
BROKEN = result({}, problem="it broke")


def test_the_last_line_says_how_many_targets_are_met() -> None:
    assert report.text(session(MET, MISSED)).splitlines()[-1] == "1 of 2 targets met"


def test_every_promise_stands_with_its_number_and_its_verdict() -> None:
    text = report.text(session(MET, MISSED))

    assert "must >= 10x peer: 15x, met by 50%" in text
    assert "aim  >= 100x peer: 15x, missed by 85%" in text
    assert "must >= 10x peer: 5x, missed by 50%" in text
    assert "1,500 +-7% jobs/s" in text


def test_only_a_session_that_missed_no_must_is_good() -> None:
    assert report.is_good(session(MET))
    assert not report.is_good(session(MET, MISSED))
    assert not report.is_good(session(MET, BROKEN))


def test_what_is_left_open_is_bad_unless_less_than_everything_was_asked_for() -> None:
    assert not report.is_good(session(OPEN))
    assert report.is_good(session(OPEN, is_quick=True))
    assert report.is_good(session(OPEN, has_peers=False))


def test_a_missed_must_is_bad_in_a_quick_session_too() -> None:
    assert not report.is_good(session(MISSED, is_quick=True))


def test_a_session_says_what_it_left_out() -> None:
    assert "Quick" in report.text(session(MET, is_quick=True))
    assert "Without peers" in report.text(session(MET, has_peers=False))
    assert "Quick" not in report.text(session(MET))


def test_the_document_holds_runs_medians_and_verdicts_and_is_json() -> None:
    document = json.loads(json.dumps(report.document(session(MET, MISSED))))

    assert (document["met"], document["of"], document["is_good"]) == (1, 2, False)
    first = document["targets"][0]
    assert first["quantities"][OURS]["median"] == 1_500.0
    assert first["quantities"][OURS]["runs"] == [1_500.0, 1_400.0, 1_600.0]
    assert first["checks"][0]["is_met"] is True
    assert first["settings"] == {PEER: {"threads": 4}}


def test_the_page_shows_the_picture_every_promise_machine_versions_and_settings() -> None:
    page = report.markdown(session(MET, MISSED))

    assert "**1 of 2 targets met**" in page
    assert "![Cadenza and its peers](report.svg)" in page
    assert "| T9 | work <done> | must | >= 10x peer | 5x, missed by 50% |" in page
    for shown in ("| cpus | 2 |", "| celery | 5.7.0 |", "| fsync | on |", "- peer: threads 4"):
        assert shown in page


def test_the_page_says_why_a_target_could_not_be_measured() -> None:
    assert "it broke" in report.markdown(session(BROKEN))
