"""Before any execution: the schedules of the demo, in the words of the REST interface.

Every kind (interval, cron, one-time, manual), every priority, both ends of an HTTP execution, jobs
that measure this machine, and an AI that plans calls of endpoints. Imports nothing of the product.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

ONE_TIME_AFTER: Final = timedelta(seconds=15)
FAST_RETRIES: Final = {"base_ms": 200, "cap_ms": 2_000}
LOAD: Final = ["cat", "/proc/loadavg"] if Path("/proc/loadavg").exists() else ["uptime"]


@dataclass(frozen=True, slots=True)
class DemoSchedule:
    """A schedule and what the proof expects of it.

    `ends` executions must end before the proof is judged; every one that ends must do so in the
    status `always` (either way if that is empty).
    """

    definition: Mapping[str, Any]
    ends: int = 2
    always: str = "completed"

    @property
    def name(self) -> str:
        name: str = self.definition["name"]
        return name

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Those that an AI may plan with."""
        return tuple(self.definition.get("task_config", {}).get("endpoints", ()))

    @property
    def is_manual(self) -> bool:
        return bool(self.definition.get("trigger_type") == "manual")

    def suffices(self, ended: Mapping[str, int]) -> bool:
        """Whether enough executions have ended, given their number by status."""
        return self.counted(ended) >= self.ends

    def counted(self, ended: Mapping[str, int]) -> int:
        """How many of the ended executions count."""
        return ended.get(self.always, 0) if self.always else sum(ended.values())


def demo_schedules(*, url: str, now: datetime, history: list[str]) -> list[DemoSchedule]:
    """The list; `url` is the endpoint server's, `history` the command that shows the checkout's."""
    return [
        *_that_answer(url),
        *_that_fail(url),
        *_at_their_time(url, now=now),
        *_programs(history),
        *_planned_by_an_ai(),
    ]


def demo_endpoints(*, url: str) -> list[dict[str, Any]]:
    """What the AI's schedule may call, in the words of the REST interface."""
    text = {"type": "string", "maxLength": 200, "default": "all is well"}
    return [
        {
            "name": "demo-ping",
            "description": "Whether the service answers.",
            "method": "GET",
            "url": f"{url}/steady",
        },
        {
            "name": "demo-figures",
            "description": "The figures of the day; takes up to two seconds.",
            "method": "GET",
            "url": f"{url}/slow",
        },
        {
            "name": "demo-note",
            "description": "Keeps a note of what was found.",
            "method": "POST",
            "url": f"{url}/steady",
            "parameters_schema": {
                "type": "object",
                "properties": {"text": text},
                "required": ["text"],
                "additionalProperties": False,
            },
        },
    ]


def _that_answer(url: str) -> list[DemoSchedule]:
    return [
        DemoSchedule(
            {
                "name": "demo: steady, every second",
                **_every(seconds=1),
                **_calls(url, "/steady"),
                "priority": "critical",
                "overlap_policy": "allow",
            }
        ),
        DemoSchedule(
            {
                "name": "demo: slow, every 5 seconds",
                **_every(seconds=5),
                **_calls(url, "/slow"),
                "priority": "high",
            }
        ),
    ]


def _that_fail(url: str) -> list[DemoSchedule]:
    return [
        DemoSchedule(
            {
                "name": "demo: flaky, fails 7 times of 10",
                **_every(seconds=10),
                **_calls(url, "/flaky", circuit_breaker=False),
                "retry_policy": {**FAST_RETRIES, "max_retries": 5},
            },
            always="",
        ),
        DemoSchedule(
            {
                "name": "demo: dead, given up each time",
                **_every(seconds=20),
                **_calls(url, "/dead", circuit_breaker=False),
                "priority": "low",
                "retry_policy": {**FAST_RETRIES, "max_retries": 2},
            },
            always="failed",
        ),
    ]


def _at_their_time(url: str, *, now: datetime) -> list[DemoSchedule]:
    return [
        DemoSchedule(
            {
                "name": "demo: each minute in Berlin",
                "schedule_type": "cron",
                "schedule_config": {"cron": "* * * * *"},
                "timezone": "Europe/Berlin",
                **_calls(url, "/steady"),
            }
        ),
        DemoSchedule(
            {
                "name": "demo: once, soon",
                "schedule_type": "one_time",
                "schedule_config": {"run_at": (now + ONE_TIME_AFTER).isoformat()},
                **_calls(url, "/steady"),
            },
            ends=1,
        ),
        DemoSchedule(
            {"name": "demo: by hand", "trigger_type": "manual", **_calls(url, "/slow")}, ends=1
        ),
    ]


def _programs(history: list[str]) -> list[DemoSchedule]:
    return [
        DemoSchedule(
            {"name": "demo: disk of this machine", **_every(seconds=10), **_runs(["df", "-k", "/"])}
        ),
        DemoSchedule(
            {
                "name": "demo: load of this machine",
                **_every(seconds=15),
                **_runs(LOAD),
                "priority": "low",
            }
        ),
        DemoSchedule(
            {
                "name": "demo: history of this checkout",
                **_every(seconds=20),
                **_runs(history),
                "priority": "low",
            }
        ),
    ]


def _planned_by_an_ai() -> list[DemoSchedule]:
    # Without any key it calls all endpoints in their order; with one, this is what it may cost.
    config = {
        "goal": "Look whether the service answers, fetch the figures of the day, and keep a note.",
        "endpoints": [one["name"] for one in demo_endpoints(url="")],
        "budget": {"tokens_per_cycle": 20_000},
    }
    return [
        DemoSchedule(
            {
                "name": "demo: an AI plans these calls",
                **_every(seconds=45),
                "task_type": "agent",
                "task_config": config,
                "timeout_ms": 120_000,
            }
        )
    ]


def expected(now: datetime) -> dict[str, DemoSchedule]:
    """What the proof expects, by name of the schedule."""
    return {one.name: one for one in demo_schedules(url="", now=now, history=[])}


def history_command(checkout: Path) -> list[str]:
    """The command that shows the checkout's last commits; its files where there are none."""
    git = ["git", "-C", str(checkout)]
    bare = {"PATH": os.environ.get("PATH", os.defpath)}  # as bare as the job's own environment
    try:
        found = subprocess.run(
            [*git, "rev-parse", "HEAD"], env=bare, capture_output=True, check=False
        )
    except FileNotFoundError:
        has_history = False
    else:
        has_history = found.returncode == 0
    return [*git, "log", "--oneline", "-n", "20"] if has_history else ["ls", "-l", str(checkout)]


def _every(*, seconds: int) -> dict[str, Any]:
    return {"schedule_type": "interval", "schedule_config": {"interval_ms": seconds * 1000}}


def _calls(url: str, path: str, **more: Any) -> dict[str, Any]:
    # POST: no client repeats one by itself, so each call is an attempt of its own; the endpoint
    # knows them by their Idempotency-Key. Those that fail on purpose share their host with the
    # others: its breaker is not to hear of them.
    config = {"method": "POST", "idempotent": True, "url": f"{url}{path}", **more}
    return {
        "task_type": "http_request",
        "task_config": config,
        "timeout_ms": 20_000,
    }


def _runs(command: list[str]) -> dict[str, Any]:
    return {
        "task_type": "shell_command",
        "task_config": {"command": command},
        "timeout_ms": 20_000,
    }
