"""Why an execution is where it is, with what is known up here: limits, who made its plan, and who
said no to it.
"""

from __future__ import annotations

from datetime import datetime

from agents_app import plan_story, tiers
from executions_app.models import Execution
from scheduler_app.limiting import held_words


def why(execution: Execution, *, now: datetime) -> str:
    """One to four sentences; below the model's own tier it says that this was no clean AI run."""
    words = held_words.why(execution, now=now)
    if asked := plan_story.sentence(execution, now=now):
        words = f"{words} {asked}"
    tiered = tiers.of([execution]).get(execution.id)
    if tiered is None or not tiered.is_lower:
        return words
    return f"{words} Not a clean AI run: {tiered.sentence}."
