"""What an execution is told when a model's answers were of no use, and how often that happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Count, Q

from agents_app.models import ModelCall
from agents_app.models_cycles import CallStatus, Phase
from agents_app.planning.problems import MalformedClass as MalformedClass
from agents_app.planning.problems import Problem as Problem
from agents_app.planning.problems import class_of
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import ids

MOST_TOLD: Final = 20


class MalformedResponseError(HandlerError):
    """No answer of a model could be used.

    `malformed_class` is the class of the last answer, or `repair_failed` if repairs were asked for;
    `attempts` counts all answers, `problems` are those of the last.
    """

    def __init__(
        self,
        malformed_class: MalformedClass,
        *,
        phase: Phase,
        attempts: int,
        problems: Sequence[Problem],
    ) -> None:
        refused_as = class_of(problems).value if problems else malformed_class.value
        answers = "answer" if attempts == 1 else "answers"
        super().__init__(
            f"The model gave no usable {phase.value} in {attempts} {answers}: "
            f"{malformed_class.value} (the last was refused as {refused_as}); its calls are kept "
            "with the execution",
            error_class=ErrorClass.MALFORMED,
            malformed_class=malformed_class.value,
            refused_as=refused_as,
            phase=phase.value,
            attempts=attempts,
            problems=[str(one) for one in problems[:MOST_TOLD]],
        )
        self.malformed_class = malformed_class
        self.phase = phase
        self.attempts = attempts
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one phase. A repair is counted once the model has answered it: it succeeded or failed."""

    malformed_responses: int
    repair_successes: int
    repair_failures: int

    @property
    def repair_attempts(self) -> int:
        return self.repair_successes + self.repair_failures

    def as_json(self) -> dict[str, int]:
        return {
            "malformedResponses": self.malformed_responses,
            "repairAttempts": self.repair_attempts,
            "repairSuccesses": self.repair_successes,
            "repairFailures": self.repair_failures,
        }


def counts(since: datetime) -> dict[str, Counts]:
    """By phase, what has happened since then, from the rows of the calls: one query."""
    is_malformed, is_ok = Q(status=CallStatus.MALFORMED.value), Q(status=CallStatus.OK.value)
    rows = (
        ModelCall.objects.filter(id__gte=ids.floor(since))
        .values("phase")
        .annotate(
            malformed=Count("id", filter=is_malformed),
            succeeded=Count("id", filter=is_ok & Q(is_repair=True)),
            failed=Count("id", filter=is_malformed & Q(is_repair=True)),
        )
        .order_by("phase")
    )
    return {row["phase"]: Counts(row["malformed"], row["succeeded"], row["failed"]) for row in rows}
