"""What the scripted model says when no test says otherwise: a plan of what the prompt names."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.fakes.model_script import Asked, Reply, plan_step, says, says_json

MOST_STEPS: Final = 20
HEADING: Final = "Endpoints, one per line:"


def plans_by_itself(asked: Asked, *, delay_ms: int = 0) -> Reply:
    """Every endpoint of the prompt once, at the same time; the schedule is kept as it is."""
    match asked.phase:
        case "plan":
            reply = says_json(plan_for(endpoints_of(asked.prompt)))
        case "schedule":
            reply = says_json(ADVICE)
        case "analyse":
            reply = says_json(ANALYSIS)
        case _:
            reply = says("All of it was done.")
    return reply.after(delay_ms)


def plan_for(names: list[str]) -> dict[str, Any]:
    steps = [plan_step(f"s{at}", name) for at, name in enumerate(names[:MOST_STEPS], start=1)]
    return {
        "strategy": "parallel",
        "concurrency": max(1, min(5, len(steps))),
        "steps": steps,
        "reason": "each endpoint once",
        "confidence": 0.9,
    }


def endpoints_of(prompt: str) -> list[str]:
    """The names in the prompt's list of endpoints: one JSON object per line under its heading."""
    found: list[str] = []
    _, _, listed = prompt.partition(HEADING)
    for line in listed.strip().splitlines():
        try:
            found.append(str(json.loads(line)["name"]))
        except (ValueError, KeyError, TypeError):
            break
    return found


ADVICE: Final[dict[str, Any]] = {
    "action": "keep",
    "next_run_at": None,
    "interval_ms": None,
    "pause_until": None,
    "reason": "it goes well as it is",
    "confidence": 0.8,
    "recommended_actions": [],
}
ANALYSIS: Final[dict[str, Any]] = {
    "needs": [],
    "complexity": "low",
    "required_tools": [],
    "sub_tasks": [],
    "reason": "one look suffices",
}
