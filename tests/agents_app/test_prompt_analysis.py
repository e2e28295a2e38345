"""Whoever sets the limits of a prompt sees what they save, and what they cost."""

from __future__ import annotations

import json

from agents_app.planning import prompts
from agents_app.planning.analysis import analyze_prompt_optimization, optimize_job_context
from agents_app.planning.job_context import Limits
from tests.agents_app.told import AMPLE, a_context, with_long_history

TIGHT = Limits(max_messages=4, max_endpoint_usage=5, max_tokens=2_000)


def test_the_report_shows_tokens_before_and_after_and_what_went() -> None:
    context = with_long_history()

    optimised, report = optimize_job_context(context, TIGHT)

    assert report.tokens_after <= TIGHT.max_tokens < report.tokens_before
    assert report.delta == report.tokens_before - report.tokens_after
    assert report.fits
    assert report.dropped["messages"] == 40 - len(optimised.messages)
    assert report.template_hash == prompts.template_hash("plan")
    by_name = {one.name: one for one in report.sections}
    assert by_name["memory"].after < by_name["memory"].before
    assert by_name["job"].after == by_name["job"].before > 0


def test_what_the_report_promises_is_what_the_model_is_told() -> None:
    context = with_long_history()

    for phase in prompts.PHASES:
        report = analyze_prompt_optimization(context, TIGHT, phase=phase)
        asked = prompts.messages_for(phase, context, limits=TIGHT)
        assert report.tokens_after == asked.estimated_tokens
        assert report.dropped == asked.dropped


def test_limits_that_nothing_reaches_save_nothing() -> None:
    context = a_context()

    optimised, report = optimize_job_context(context, AMPLE)

    assert optimised == context
    assert report.delta == 0
    assert report.dropped == {}


def test_a_floor_above_the_limit_is_said_to_be_so() -> None:
    report = analyze_prompt_optimization(
        with_long_history(), Limits(max_messages=1, max_endpoint_usage=1, max_tokens=10)
    )

    assert not report.fits
    assert report.tokens_after > 10


def test_the_report_is_plain_json() -> None:
    report = analyze_prompt_optimization(with_long_history(), TIGHT).as_json()

    assert json.loads(json.dumps(report)) == report
    assert {"tokens_before", "tokens_after", "delta", "sections", "dropped"} <= report.keys()
