"""What a rule means and when it would run, over HTTP, before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app import clock
from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.problem import FieldError, Problem
from scheduler_app import next_run, references, windows
from scheduler_app.api.serializers import ExplanationSerializer, PreviewSerializer
from scheduler_app.explain import Explanation
from scheduler_app.foresight import lint_rows, preview
from scheduler_app.models import BusinessCalendar, Schedule
from scheduler_app.next_run import InvalidTriggerConfigError
from scheduler_app.policies import TriggerType

NOT_STORED: Final = UUID(int=0)
CONDITIONS: Final = ("start_at", "end_at", "max_runs", "execution_window", "outside_window")


class Preview(ApiView[Schedule]):
    rows = Schedule.objects.all()
    serializer_class = ExplanationSerializer

    @extend_schema(
        operation_id="scheduler_preview", request=PreviewSerializer, responses=ExplanationSerializer
    )
    @idempotent.once
    def post(self, request: Request) -> Response:
        """The sentence, the next runs and the warnings of a rule; nothing is stored.

        With bounds, a window or a calendar the fires are those that would run.
        """
        given = PreviewSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        words = given.validated_data
        try:
            explanation = self._explain(words)
        except InvalidTriggerConfigError as error:
            path = (error.field,) if error.field in words else ("schedule_config", error.field)
            raise _wrong(path, error.reason) from None
        fires = [datetime.fromisoformat(one.starts_at) for one in explanation.fires]
        collisions = lint_rows.collisions(fires)
        warned = replace(explanation, warnings=(*explanation.warnings, *collisions))
        return Response(ExplanationSerializer(warned).data)

    def _explain(self, words: Mapping[str, Any]) -> Explanation:
        _check_window(words)
        rule = (
            ("cron", {"cron": words["cron"]})
            if "cron" in words
            else (words["schedule_type"], words["schedule_config"])
        )
        schedule = Schedule(
            id=NOT_STORED,
            trigger_type=TriggerType.TIME_BASED,
            schedule_type=rule[0],
            schedule_config=rule[1],
            timezone=words["timezone"],
            calendar=self._calendar(words.get("calendar")),
            **{name: words[name] for name in CONDITIONS if name in words},
        )
        return preview.read(schedule, now=clock.now(), count=words["count"])

    def _calendar(self, reference: str | None) -> BusinessCalendar | None:
        if not reference:
            return None
        found = references.calendar(reference, owner_id=self.user.pk)
        if found is None:
            raise _wrong(("calendar",), f"you have no business calendar {reference!r}")
        return found


def _check_window(words: Mapping[str, Any]) -> None:
    try:
        windows.parse_window(words.get("execution_window", {}), zone=next_run.zone("UTC"))
    except InvalidTriggerConfigError as error:
        raise _wrong(("execution_window", error.field), error.reason) from None


def _wrong(path: tuple[str, ...], message: str) -> Problem:
    return problem.invalid([FieldError(problem.pointer(*path), "invalid", message)])
