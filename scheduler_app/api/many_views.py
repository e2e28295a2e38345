"""Whether they fire, for many schedules at once over HTTP: pause and resume what a filter finds."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.problem import FieldError
from scheduler_app.api import views
from scheduler_app.api.filters import ScheduleFilter
from scheduler_app.api.limit_serializers import (
    DoneToManySerializer,
    ManySerializer,
    PauseManySerializer,
)
from scheduler_app.bulk import at_once
from scheduler_app.bulk.at_once import Done
from scheduler_app.models import Schedule


class ManyView(ApiView[Schedule]):
    rows = Schedule.objects.all()
    serializer_class = DoneToManySerializer
    meanings = views.ScheduleView.meanings

    def chosen(self, words: dict[str, Any]) -> Any:
        """The caller's schedules of these ids, or of this filter."""
        rows = self.get_queryset()
        if "ids" in words:
            return rows.filter(id__in=words["ids"])
        filters = ScheduleFilter(data=words["filter"], queryset=rows, request=self.request)
        if not filters.is_valid():
            found = [
                FieldError(problem.pointer("filter", name), "invalid", str(errors[0]))
                for name, errors in filters.errors.items()
            ]
            raise problem.invalid(found)
        return filters.qs

    def done(self, done: Done) -> Response:
        refused = [
            {"id": one.schedule.id, "name": one.schedule.name, "detail": one.detail}
            for one in done.refused
        ]
        shown = {"changed": done.changed, "refused": refused, "remaining": done.remaining}
        return Response(DoneToManySerializer(shown).data)


class PauseMany(ManyView):
    @extend_schema(
        operation_id="schedules_pause", request=PauseManySerializer, responses=DoneToManySerializer
    )
    @idempotent.once
    def post(self, request: Request) -> Response:
        """Pause the chosen schedules that still fire, at most 1000 at a time."""
        given = PauseManySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        words = given.validated_data
        done = at_once.pause(
            self.chosen(words), reason=words["reason"], until=words["until"], user=self.user
        )
        return self.done(done)


class ResumeMany(ManyView):
    @extend_schema(
        operation_id="schedules_resume", request=ManySerializer, responses=DoneToManySerializer
    )
    @idempotent.once
    def post(self, request: Request) -> Response:
        """Resume the chosen schedules that are paused or disabled, at most 1000 at a time."""
        given = ManySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return self.done(at_once.resume(self.chosen(given.validated_data), user=self.user))
