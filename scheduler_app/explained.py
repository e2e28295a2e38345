"""Why an execution is where it is, with what is known up here: limits, and who made its plan."""

from __future__ import annotations

from datetime import datetime

from agents_app import tiers
from executions_app.models import Execution
from scheduler_app.limiting import held_words


def why(execution: Execution, *, now: datetime) -> str:
    """One to three sentences; below the model's own tier it says that this was no clean AI run."""
    words = held_words.why(execution, now=now)
    tiered = tiers.of([execution]).get(execution.id)
    if tiered is None or not tiered.is_lower:
        return words
    return f"{words} Not a clean AI run: {tiered.sentence}."
