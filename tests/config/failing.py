"""URLs whose views fail, one by a bug and one because PostgreSQL is away."""

from __future__ import annotations

from typing import Any

from django.db import OperationalError
from django.urls import path
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config import urls


class Bug(APIView):
    authentication_classes = []
    permission_classes = [AllowAny]

    def post(self, _request: Request) -> Response:
        raise ZeroDivisionError("password=hunter2")


class Away(Bug):
    def post(self, _request: Request) -> Response:
        raise OperationalError("the connection is gone")


urlpatterns: list[Any] = [path("api/bug", Bug.as_view()), path("api/away", Away.as_view())]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
