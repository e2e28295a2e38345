"""What the AI does in executions, in numbers for Prometheus: models, tokens, agents and cycles.

Numbers of calls and cycles are those of the last hour, and of the newest so many: what is asked of
the database does not grow with what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from agents_app import cycle_times
from agents_app.cycle import monitor
from agents_app.objects import environment
from agents_app.planning import malformed
from agents_app.selection_statements import IS_UP, KNOWN, WORKING, standing
from executions_app import ids
from executions_app.metrics import LATELY, MOST_COUNTED, MOST_LABELLED, gauge, read

CALLS: Final = f"""
SELECT model, phase, status, malformed_class, count(*), sum(prompt_tokens),
    sum(completion_tokens), sum(cost_usd), sum(latency_ms)
FROM (
    SELECT * FROM model_calls WHERE id >= %(since)s ORDER BY id DESC LIMIT {MOST_COUNTED}
) AS recent GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 2000
"""  # noqa: S608  constants
AGENTS: Final = f"""
WITH RECURSIVE {KNOWN}, {standing(agent="NULL", capabilities="'{}'::text[]", tools="'{}'::text[]")}
SELECT a.name, s.used, a.max_concurrent, {IS_UP}
FROM standing s JOIN agents a USING (id)
ORDER BY s.used DESC, a.name LIMIT {MOST_LABELLED}
"""  # noqa: S608  constants
PLACES: Final = f"""
SELECT (SELECT coalesce(sum(max_concurrent), 0) FROM agents WHERE enabled),
    (SELECT count(*) FROM cycles WHERE {WORKING} AND agent_id IS NOT NULL)
"""  # noqa: S608  constants
STAGES: Final = f"""
SELECT stage, count(*) FROM (
    SELECT stage FROM cycles WHERE status = 'running' LIMIT {MOST_COUNTED}
) AS running GROUP BY stage
"""  # noqa: S608  constants


def families(now: datetime) -> Iterator[Metric]:
    """Models by phase, agents by name, cycles by stage."""
    since = {"since": ids.floor(now - LATELY)}
    calls = read(CALLS, since)
    yield from _models(calls)
    yield from _malformed(calls, now)
    yield from _agents()
    yield from _cycles(now)


def _models(calls: list[tuple[Any, ...]]) -> Iterator[Metric]:
    yield gauge(
        "model_calls_last_hour",
        f"Calls of models within the last hour, the newest {MOST_COUNTED}",
        ["model", "phase", "status"],
        _summed(calls, (0, 1, 2), 4),
    )
    for place, name, text, scale in (
        (5, "prompt_tokens", "Tokens of prompts", 1),
        (6, "completion_tokens", "Tokens of answers", 1),
        (7, "cost_usd", "Cost of calls, in US dollars", 1),
        (8, "call_seconds", "Time spent in calls", 1000),
    ):
        yield gauge(
            f"model_{name}_last_hour",
            f"{text}, of the calls of the last hour",
            ["model", "phase"],
            _summed(calls, (0, 1), place, scale=scale),
        )


def _malformed(calls: list[tuple[Any, ...]], now: datetime) -> Iterator[Metric]:
    """By phase: what could not be used, and what came of showing it to the model again."""
    counted = malformed.counts(now - LATELY)
    for name, text in (
        ("malformed_responses", "Answers that could not be used"),
        ("repair_attempts", "Times that a model was shown its answer"),
        ("repair_successes", "Repairs that ended well"),
        ("repair_failures", "Repairs that did not"),
    ):
        found = [((phase,), getattr(one, name)) for phase, one in counted.items()]
        yield gauge(f"{name}_last_hour", f"{text}, last hour", ["phase"], found)
    yield gauge(
        "malformed_classes_last_hour",
        "Answers that could not be used, by why, last hour",
        ["phase", "malformed_class"],
        _summed([one for one in calls if one[2] == "malformed"], (1, 3), 4),
    )


def _agents() -> Iterator[Metric]:
    rows = read(AGENTS, {"has_key": environment.provider() is not None})
    for place, name, text in (
        (1, "agent_places_used", "Cycles that an agent carries out"),
        (2, "agent_places", "Cycles that an agent can carry out at once"),
        (3, "agent_up", "1 if an agent is enabled and not left out, nor its provider"),
    ):
        found = [((row[0],), row[place]) for row in rows]
        yield gauge(name, f"{text}; the {MOST_LABELLED} busiest agents", ["agent"], found)
    most, used = read(PLACES)[0]
    yield gauge("places", "Cycles that all enabled agents can carry out", [], [((), most)])
    yield gauge("places_used", "Cycles that hold a place of an agent", [], [((), used)])


def _cycles(now: datetime) -> Iterator[Metric]:
    running = [((stage,), number) for stage, number in read(STAGES)]
    yield gauge("cycles", "Running cycles by stage; wait: for an agent", ["stage"], running)
    silent = len(monitor.stalled(now))
    yield gauge("cycles_stalled", "Cycles that give no sign of life", [], [((), silent)])
    ended = cycle_times.ended_lately(now)
    yield gauge(
        "cycles_ended_last_hour",
        f"Cycles begun within the last hour that have ended, the newest {MOST_COUNTED}",
        ["tier", "status"],
        [((tier or "none", status), number) for (tier, status), number in ended.numbers.items()],
    )
    text = "How long a stage of these cycles took; cycle: all of them"
    for name in ("mean", "total", "last"):
        rows = [((stage,), getattr(one, f"{name}_ms") / 1000) for stage, one in ended.times.items()]
        yield gauge(f"cycle_stage_seconds_{name}", f"{text}: {name}", ["stage"], rows)


def _summed(
    rows: list[tuple[Any, ...]], labels: tuple[int, ...], place: int, *, scale: int = 1
) -> list[tuple[tuple[Any, ...], float]]:
    found: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key = tuple(row[one] for one in labels)
        found[key] = found.get(key, 0.0) + float(row[place]) / scale
    return list(found.items())
