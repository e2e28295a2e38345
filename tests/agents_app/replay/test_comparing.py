"""What differs between two decisions, in words that need no ids of a model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from agents_app.planning.authority import Offer, grant
from agents_app.planning.contracts import Advice, Plan, PlanStep
from agents_app.replay import comparing

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EU = PlanStep("a", "endpoint", "warm-eu", {"depth": 1})
US = PlanStep("b", "endpoint", "warm-us", depends_on=("a",))
PLAN = Plan("dependency", 2, (EU, US), reason="both cool")


def changed(**changes: object) -> list[str]:
    return comparing.plans(PLAN, replace(PLAN, **changes))  # type: ignore[arg-type]


def test_other_ids_reasons_and_confidence_are_no_difference() -> None:
    renamed = replace(EU, id="s1", reason="why not"), replace(US, id="s2", depends_on=("s1",))

    assert changed(steps=renamed, reason="other words", confidence=0.1) == []


def test_what_is_not_called_any_more_and_what_is_called_as_well_is_said() -> None:
    more = PlanStep("c", "tool", "now", {"zone": "UTC"})

    assert changed(steps=(EU, more)) == [
        "endpoint 'warm-us' is not called",
        'tool \'now\' is called as well, with {"zone": "UTC"}',
    ]


def test_a_second_call_of_the_same_endpoint_is_one_of_its_own() -> None:
    again = replace(EU, id="c", parameters={})

    assert changed(steps=(EU, US, again)) == [
        "endpoint 'warm-eu' (call 2) is called as well, with {}"
    ]


def test_every_part_of_a_call_is_compared() -> None:
    other = replace(US, parameters={"depth": 2}, depends_on=(), critical=True, priority=80)

    assert changed(steps=(EU, other), strategy="parallel", concurrency=1) == [
        "endpoint 'warm-us' is called with {\"depth\": 2} instead of {}",
        "endpoint 'warm-us' waits for nothing instead of endpoint 'warm-eu'",
        "endpoint 'warm-us' is critical",
        "endpoint 'warm-us' has the priority 80 instead of 50",
        "the strategy is parallel instead of dependency",
        "at most 1 calls at once instead of 2",
    ]


def test_the_order_matters_only_where_one_comes_after_the_other() -> None:
    one_by_one = Plan("sequential", 1, (EU, replace(US, depends_on=())))
    backwards = replace(one_by_one, steps=one_by_one.steps[::-1])
    together = replace(one_by_one, strategy="parallel")

    assert comparing.plans(one_by_one, backwards) == ["the order of the calls is another"]
    assert comparing.plans(together, replace(together, steps=backwards.steps)) == []


def test_a_plan_that_is_gone_or_new_is_said() -> None:
    assert comparing.plans(PLAN, None) == ["there is no plan, and there was one"]
    assert comparing.plans(None, PLAN) == ["there is a plan: there was none"]
    assert comparing.plans(None, None) == []


def test_advice_is_compared_by_when_not_by_why() -> None:
    soon = Advice("interval", interval_ms=60_000, reason="one")
    at_noon = Advice("next_run_at", next_run_at=NOON)

    assert comparing.advices(soon, replace(soon, reason="another", confidence=1.0)) == []
    assert comparing.advices(soon, at_noon) == [
        "next run: at 2026-11-22T12:00:00Z, instead of 60000 ms after this one"
    ]
    assert comparing.advices(soon, None) == [
        "next run: no advice, instead of 60000 ms after this one"
    ]


def test_rights_that_went_came_or_changed_are_said_with_the_reason() -> None:
    offers = [Offer(target="endpoint", name=one) for one in ("warm-eu", "warm-us", "mail")]
    named = {"tools": (), "agent_tools": ()}
    before = grant(offers[:2], endpoints=("warm-eu", "warm-us"), **named)
    off = replace(offers[0], enabled=False)
    other = replace(offers[1], schema={"type": "object", "required": ["depth"]})
    after = grant([off, other, offers[2]], endpoints=("warm-eu", "warm-us", "mail"), **named)

    assert comparing.rights(before, after) == [
        "endpoint 'warm-eu' is switched off",
        "endpoint 'mail' may be called by now",
        "endpoint 'warm-us' takes other parameters by now",
    ]
    assert comparing.rights(before, before) == []
