"""Bad answers as models give them, each refused by the layer that it first breaks."""

from __future__ import annotations

from typing import Any

import pytest

from agents_app.planning.problems import MalformedClass, class_of
from tests.agents_app.planning.asked import (
    GONE,
    advice,
    advice_contract,
    analysis,
    analysis_contract,
    plan,
    plan_contract,
    step,
    text,
)

EMPTY = MalformedClass.EMPTY_RESPONSE
PARSE = MalformedClass.SCHEMA_PARSE_ERROR
ENUM = MalformedClass.INVALID_ENUM_VALUE
STRUCTURE = MalformedClass.STRUCTURAL_INCONSISTENCY
SENSE = MalformedClass.SEMANTIC_VIOLATION

GOOD = text(plan())
CHAIN = [step("a", depends_on=["c"]), step("b", depends_on=["a"]), step("c", depends_on=["b"])]

BAD_TEXTS: list[tuple[str, MalformedClass, str]] = [
    ("nothing", EMPTY, ""),
    ("blanks", EMPTY, " \n\t "),
    ("an empty fence", EMPTY, "```json\n```"),
    ("only a thought", EMPTY, '<think>I will plan {"steps": 1}</think>\n'),
    ("a thought without an end", EMPTY, "<think>hmm " + GOOD),
    ("only a byte order mark", EMPTY, "\ufeff\n"),
    ("only NUL", EMPTY, "\x00\x00"),
    ("prose", PARSE, "I am sorry, I cannot plan this."),
    ("prose with braces", PARSE, "Use {name} and {other}."),
    ("null", PARSE, "null"),
    ("a number", PARSE, "42"),
    ("a text", PARSE, '"a plan"'),
    ("a list of steps", PARSE, text([step()])),
    ("a list in a fence", PARSE, "```json\n[" + GOOD + "]\n```"),
    ("an empty object", PARSE, "{}"),
    ("cut off in the middle", PARSE, GOOD[: len(GOOD) // 2]),
    ("cut off before its last brace", PARSE, GOOD[:-1]),
    ("cut off within a text", PARSE, '{"strategy": "sequ'),
    ("cut off behind a whole step", PARSE, '{"steps": [' + text(step()) + ", {"),
    ("single quotes", PARSE, str(plan())),
    ("a comma too many", PARSE, GOOD[:-1] + ",}"),
    ("a comment", PARSE, GOOD.replace("{", "{ // plan\n", 1)),
    ("an unquoted word", PARSE, GOOD.replace('"dependency"', "dependency")),
    ("NaN", PARSE, GOOD.replace("0.8", "NaN")),
    ("infinity", PARSE, GOOD.replace("0.8", "-Infinity")),
    ("a number without end", PARSE, GOOD.replace("0.8", "1e999")),
    ("a number of ten thousand digits", PARSE, GOOD.replace("0.8", "9" * 10_000)),
    ("a name twice", PARSE, '{"strategy": "parallel", ' + GOOD[1:]),
    ("a name twice in a step", PARSE, GOOD.replace('"id":', '"id": "z", "id":')),
    ("two plans", PARSE, f"Either {GOOD} or {GOOD}"),
    ("a plan and half of another", PARSE, GOOD + GOOD[:40]),
    ("nested a thousand times", PARSE, '{"a":' * 1000 + "1" + "}" * 1000),
    ("nested a hundred thousand times", PARSE, '{"a":' * 100_000 + "1" + "}" * 100_000),
    ("open braces only", PARSE, '{"' * 90_000),
    ("longer than any plan", PARSE, GOOD[:-1] + " " * 300_000 + "}"),
    ("NUL in a text", PARSE, GOOD.replace("it is time", "it is\\u0000time")),
    ("half of a surrogate pair", PARSE, GOOD.replace("it is time", "\\ud800")),
    ("half of a pair as it is", PARSE, GOOD.replace("it is time", "\ud800")),
    ("a control character as it is", PARSE, GOOD.replace("it is time", "it\x01is")),
]

BAD_PLANS: list[tuple[str, MalformedClass, dict[str, Any], str]] = [
    ("no steps named", PARSE, plan(steps=GONE), "steps"),
    ("no strategy", PARSE, plan(strategy=GONE), "strategy"),
    ("no confidence", PARSE, plan(confidence=GONE), "confidence"),
    ("a wish that nobody has", PARSE, plan(admin=True), "admin"),
    ("a URL in a step", PARSE, plan(step(url="http://169.254.169.254/")), "steps[0].url"),
    ("a method in a step", PARSE, plan(step(method="DELETE")), "steps[0].method"),
    ("steps as an object", PARSE, plan(steps={"a": step()}), "steps"),
    ("a step as text", PARSE, plan(steps=["warm"]), "steps[0]"),
    ("a step without id", PARSE, plan(step(id=GONE)), "steps[0].id"),
    ("a number as id", PARSE, plan(step(id=1)), "steps[0].id"),
    ("an empty id", PARSE, plan(step("")), "steps[0].id"),
    ("an id of a line", PARSE, plan(step("a\nb")), "steps[0].id"),
    ("an endless id", PARSE, plan(step("a" * 65)), "steps[0].id"),
    ("concurrency in words", PARSE, plan(concurrency="two"), "concurrency"),
    ("half of a step at once", PARSE, plan(concurrency=1.5), "concurrency"),
    ("truth as a number", PARSE, plan(concurrency=True), "concurrency"),
    ("critical in words", PARSE, plan(step(critical="no")), "steps[0].critical"),
    ("dependencies as text", PARSE, plan(step(depends_on="b")), "steps[0].depends_on"),
    ("a number as dependency", PARSE, plan(step(depends_on=[1])), "steps[0].depends_on[0]"),
    (
        "parameters that are no JSON",
        PARSE,
        plan(step(parameters_json="{a}")),
        "steps[0].parameters_json",
    ),
    (
        "parameters that are a list",
        PARSE,
        plan(step(parameters_json="[1]")),
        "steps[0].parameters_json",
    ),
    (
        "parameters with NaN",
        PARSE,
        plan(step(parameters_json='{"a": NaN}')),
        "steps[0].parameters_json",
    ),
    (
        "parameters with a name twice",
        PARSE,
        plan(step(parameters_json='{"a": 1, "a": 2}')),
        "steps[0].parameters_json",
    ),
    ("a number as strategy", PARSE, plan(strategy=1), "strategy"),
    ("an unknown strategy", ENUM, plan(strategy="mixed"), "strategy"),
    ("a strategy in capitals", ENUM, plan(strategy="PARALLEL"), "strategy"),
    ("an unknown target", ENUM, plan(step(target="webhook")), "steps[0].target"),
    ("an empty target", ENUM, plan(step(target="")), "steps[0].target"),
    ("no steps at all", STRUCTURE, plan(steps=[]), "steps"),
    ("an id twice", STRUCTURE, plan(step(), step()), "steps[1].id"),
    ("an unknown dependency", STRUCTURE, plan(step(depends_on=["ghost"])), "steps[0].depends_on"),
    (
        "a step that waits for itself",
        STRUCTURE,
        plan(step(depends_on=["a"])),
        "steps[0].depends_on",
    ),
    (
        "two that wait for each other",
        STRUCTURE,
        plan(step("a", depends_on=["b"]), step("b", depends_on=["a"])),
        "",
    ),
    ("a ring of three", STRUCTURE, plan(*CHAIN), ""),
    ("more steps than allowed", STRUCTURE, plan(*[step(f"s{n}") for n in range(6)]), "steps"),
    ("five hundred steps", STRUCTURE, plan(*[step(f"s{n}") for n in range(500)]), "steps"),
    ("an unknown endpoint", SENSE, plan(step(name="wram")), "steps[0].name"),
    ("an endpoint in capitals", SENSE, plan(step(name="Warm")), "steps[0].name"),
    ("a URL as endpoint", SENSE, plan(step(name="http://localhost/")), "steps[0].name"),
    ("a tool as endpoint", SENSE, plan(step(name="search")), "steps[0].name"),
    ("another's endpoint", SENSE, plan(step(name="payroll")), "steps[0].name"),
    ("an endpoint that is off", SENSE, plan(step(name="retired")), "steps[0].name"),
    (
        "a tool that the agent lacks",
        SENSE,
        plan(step(target="tool", name="shell")),
        "steps[0].name",
    ),
    ("an unknown tool", SENSE, plan(step(target="tool", name="eval")), "steps[0].name"),
    ("a parameter that is missing", SENSE, plan(step(name="deploy")), "steps[0].parameters_json"),
    (
        "a parameter of a wrong kind",
        SENSE,
        plan(step(name="deploy", parameters_json='{"region": "eu", "count": "1"}')),
        "steps[0].parameters_json.count",
    ),
    (
        "a parameter that is not taken",
        SENSE,
        plan(step(name="deploy", parameters_json='{"region": "eu", "force": true}')),
        "steps[0].parameters_json.force",
    ),
    (
        "a word that the endpoint does not know",
        SENSE,
        plan(step(name="deploy", parameters_json='{"region": "moon"}')),
        "steps[0].parameters_json.region",
    ),
    ("none at once", SENSE, plan(concurrency=0), "concurrency"),
    ("a thousand at once", SENSE, plan(concurrency=1000), "concurrency"),
    ("confidence in percent", SENSE, plan(confidence=80), "confidence"),
    ("a priority beyond all", SENSE, plan(step(priority=101)), "steps[0].priority"),
]

BAD_ADVICE: list[tuple[str, MalformedClass, dict[str, Any], str]] = [
    ("no action", PARSE, advice(GONE), "action"),
    (
        "an instant without zone",
        PARSE,
        advice("next_run_at", next_run_at="2026-06-01T13:00:00"),
        "next_run_at",
    ),
    (
        "an instant in words",
        PARSE,
        advice("next_run_at", next_run_at="in 5 minutes"),
        "next_run_at",
    ),
    (
        "an instant that does not exist",
        PARSE,
        advice("next_run_at", next_run_at="2026-02-30T13:00:00Z"),
        "next_run_at",
    ),
    (
        "an instant beyond the calendar",
        PARSE,
        advice("next_run_at", next_run_at="9999-12-31T23:59:59-23:59"),
        "next_run_at",
    ),
    ("seconds since 1970", PARSE, advice("next_run_at", next_run_at=1_780_000_000), "next_run_at"),
    ("an interval as text", PARSE, advice("interval", interval_ms="60000"), "interval_ms"),
    (
        "a thousand recommendations",
        PARSE,
        advice(recommended_actions=["x"] * 1000),
        "recommended_actions",
    ),
    ("an unknown action", ENUM, advice("delete_schedule"), "action"),
    (
        "a time in the past",
        SENSE,
        advice("next_run_at", next_run_at="2026-06-01T11:59:59Z"),
        "next_run_at",
    ),
    (
        "this very instant",
        SENSE,
        advice("next_run_at", next_run_at="2026-06-01T12:00:00Z"),
        "next_run_at",
    ),
    (
        "a time that never comes",
        SENSE,
        advice("next_run_at", next_run_at="2099-01-01T00:00:00Z"),
        "next_run_at",
    ),
    ("a time that is not said", SENSE, advice("next_run_at"), "next_run_at"),
    ("a pause without end", SENSE, advice("pause"), "pause_until"),
    (
        "a pause that is over",
        SENSE,
        advice("pause", pause_until="2026-05-01T00:00:00Z"),
        "pause_until",
    ),
    (
        "a pause of decades",
        SENSE,
        advice("pause", pause_until="2050-01-01T00:00:00Z"),
        "pause_until",
    ),
    ("no interval", SENSE, advice("interval"), "interval_ms"),
    ("an interval of nothing", SENSE, advice("interval", interval_ms=0), "interval_ms"),
    ("an interval backwards", SENSE, advice("interval", interval_ms=-60_000), "interval_ms"),
    ("an interval of an age", SENSE, advice("interval", interval_ms=10**15), "interval_ms"),
    ("an interval under the least", SENSE, advice("interval", interval_ms=59_999), "interval_ms"),
    ("an interval over the most", SENSE, advice("interval", interval_ms=86_400_001), "interval_ms"),
    (
        "a run too soon",
        SENSE,
        advice("next_run_at", next_run_at="2026-06-01T12:00:30Z"),
        "next_run_at",
    ),
    ("more than certain", SENSE, advice(confidence=1.01), "confidence"),
]

BAD_ANALYSES: list[tuple[str, MalformedClass, dict[str, Any], str]] = [
    ("needs as text", PARSE, analysis(needs="http"), "needs"),
    ("parts as text", PARSE, analysis(sub_tasks=["look"]), "sub_tasks[0]"),
    ("an unknown complexity", ENUM, analysis(complexity="extreme"), "complexity"),
    (
        "a part that waits for nobody",
        STRUCTURE,
        analysis(sub_tasks=[{"id": "a", "goal": "g", "depends_on": ["b"]}]),
        "sub_tasks[0].depends_on",
    ),
    ("a tool that there is not", SENSE, analysis(required_tools=["drill"]), "required_tools"),
]


@pytest.mark.parametrize(
    ("malformed_class", "said"),
    [pytest.param(one, said, id=name) for name, one, said in BAD_TEXTS],
)
def test_what_is_no_answer_at_all_is_refused_by_the_first_layers(
    malformed_class: MalformedClass, said: str
) -> None:
    judged = plan_contract().judge(said)

    assert judged.value is None
    assert class_of(judged.problems) == malformed_class


@pytest.mark.parametrize(
    ("malformed_class", "said", "path"),
    [pytest.param(one, said, path, id=name) for name, one, said, path in BAD_PLANS],
)
def test_a_bad_plan_is_refused_with_its_class_at_its_place(
    malformed_class: MalformedClass, said: dict[str, Any], path: str
) -> None:
    judged = plan_contract().judge(text(said))

    assert judged.value is None
    assert class_of(judged.problems) == malformed_class
    assert path in {one.path for one in judged.problems if one.malformed_class == malformed_class}


@pytest.mark.parametrize(
    ("malformed_class", "said", "path"),
    [pytest.param(one, said, path, id=name) for name, one, said, path in BAD_ADVICE],
)
def test_bad_advice_is_refused_with_its_class_at_its_place(
    malformed_class: MalformedClass, said: dict[str, Any], path: str
) -> None:
    judged = advice_contract(is_strict=True).judge(text(said))

    assert judged.value is None
    assert class_of(judged.problems) == malformed_class
    assert path in {one.path for one in judged.problems}


@pytest.mark.parametrize(
    ("malformed_class", "said", "path"),
    [pytest.param(one, said, path, id=name) for name, one, said, path in BAD_ANALYSES],
)
def test_a_bad_analysis_is_refused_with_its_class_at_its_place(
    malformed_class: MalformedClass, said: dict[str, Any], path: str
) -> None:
    judged = analysis_contract().judge(text(said))

    assert judged.value is None
    assert class_of(judged.problems) == malformed_class
    assert path in {one.path for one in judged.problems}


def test_all_that_is_wrong_is_said_at_once_and_the_first_layer_names_the_class() -> None:
    said = plan(
        step("a", name="ghost", depends_on=["nobody"]),
        step("b", target="webhook"),
        step("b", priority=900),
        confidence=7,
    )

    judged = plan_contract().judge(text(said))

    assert [one.malformed_class for one in judged.problems] == [
        ENUM,
        STRUCTURE,
        STRUCTURE,
        SENSE,
        SENSE,
        SENSE,
    ]
    assert class_of(judged.problems) == ENUM
    assert {one.path for one in judged.problems} >= {
        "steps[0].name",
        "steps[0].depends_on",
        "steps[1].target",
        "steps[2].id",
        "confidence",
    }


def test_problems_name_the_place_in_the_answer_also_behind_a_step_that_cannot_be_read() -> None:
    said = plan(step("a", id=GONE), "no step", step("c", name="ghost"))  # type: ignore[arg-type]

    judged = plan_contract().judge(text(said))

    assert {one.path for one in judged.problems} == {"steps[0].id", "steps[1]", "steps[2].name"}


def test_what_waits_for_a_step_that_cannot_be_read_does_not_wait_for_an_unknown_one() -> None:
    said = plan(step("a", critical="yes", name=GONE), step("b", depends_on=["a"]))

    judged = plan_contract().judge(text(said))

    assert {one.path for one in judged.problems} == {"steps[0].critical", "steps[0].name"}


def test_an_enormous_list_of_problems_is_bounded() -> None:
    said = plan(*[step(f"s{n}", name="ghost", extra=1) for n in range(700)])

    judged = plan_contract().judge(text(said))

    assert 100 <= len(judged.problems) <= 200
    assert all(len(one.message) <= 300 for one in judged.problems)
