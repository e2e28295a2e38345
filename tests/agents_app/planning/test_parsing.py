"""One JSON object out of whatever a model wraps around it."""

from __future__ import annotations

import pytest

from agents_app.planning.parsing import embedded, parse
from agents_app.planning.problems import MalformedClass, Problem

OBJECT = '{"a": "b {not} \\"this\\"", "c": [1, {"d": 2}]}'
MEANT = {"a": 'b {not} "this"', "c": [1, {"d": 2}]}

WRAPPED = {
    "bare": OBJECT,
    "with blanks": f"\n\n  {OBJECT}\t\n",
    "with a byte order mark": f"\ufeff{OBJECT}",
    "fenced as json": f"```json\n{OBJECT}\n```",
    "fenced as nothing": f"```\n{OBJECT}\n```",
    "fenced in prose": f"Here is the plan:\n```json\n{OBJECT}\n```\nLet me know!",
    "prose before": f"Sure, here it is: {OBJECT}",
    "prose behind": f"{OBJECT}\n\nThis plan warms {{all}} caches.",
    "an inch before": f'The 5" plan, not "that one: {OBJECT}',
    "braces in prose": f"Fill in {{name}} and {{ other }}: {OBJECT}",
    "a thought before": '<think>maybe {"a": 1}? no</think>\n' + OBJECT,
    "a long thought": f'<thinking>\n{{"x":\n</thinking>{OBJECT}',
}


@pytest.mark.parametrize("text", WRAPPED.values(), ids=WRAPPED)
def test_one_object_is_found_within_what_stands_around_it(text: str) -> None:
    assert parse(text) == MEANT


def test_an_object_within_one_that_was_cut_off_is_not_taken_for_the_answer() -> None:
    said = parse('{"steps": [{"strategy": "parallel"}, {"strategy"')

    assert isinstance(said, Problem)
    assert "not complete" in said.message


def test_an_answer_that_reached_its_limit_of_tokens_is_told_so() -> None:
    said = parse('{"steps": [', finish_reason="length")

    assert isinstance(said, Problem)
    assert "cut off at its limit of tokens" in said.message


def test_a_whole_object_will_do_even_if_what_followed_was_cut_off() -> None:
    assert parse(f"{OBJECT} and then I", finish_reason="length") == MEANT


def test_which_name_stands_twice_is_said() -> None:
    said = parse('{"a": 1, "b": 2, "a": 3}')

    assert isinstance(said, Problem)
    assert "'a' stands twice" in said.message


def test_a_refusal_quotes_little_of_an_endless_answer() -> None:
    said = parse("no " * 50_000)

    assert isinstance(said, Problem)
    assert said.malformed_class == MalformedClass.SCHEMA_PARSE_ERROR
    assert len(said.message) <= 300


def test_blank_parameters_are_none() -> None:
    assert embedded(" ") == {}
    assert embedded('{"region": "eu"}') == {"region": "eu"}


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "{", '{"a": NaN}', "[" * 100_000])
def test_parameters_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        embedded(text)
