"""The product's URLs and one view per failure that no request can bring about at will."""

from __future__ import annotations

from typing import Any

import redis
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response

from config import urls
from executions_app.api.base import ApiView
from executions_app.models import Execution
from executions_app.states import LostRace, SchedulerException


class Failing(ApiView[Execution]):
    rows = Execution.objects.all()
    error: Exception | None = None

    def get(self, _request: Request) -> Response:
        assert self.error is not None
        raise self.error


def outside_any_api_view(_request: HttpRequest) -> HttpResponse:
    raise OperationalError("the connection to host 10.0.0.7 is gone")


FAILURES: dict[str, Exception] = {
    "bug": ZeroDivisionError("password=hunter2"),
    "database": OperationalError("the connection to host 10.0.0.7 is gone"),
    "redis": redis.ConnectionError("the connection to host 10.0.0.8 is gone"),
    "race": LostRace("Somebody else was first"),
    "refused": SchedulerException("It is too late for this"),
    "gone": Execution.DoesNotExist("no such row"),
}
urlpatterns: list[Any] = [
    *(path(f"api/failing/{name}", Failing.as_view(error=one)) for name, one in FAILURES.items()),
    path("api/failing/outside", outside_any_api_view),
    *urls.urlpatterns,
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
