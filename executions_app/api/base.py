"""What all views of the API share, from executions to schedules: who asks, and what they see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, QueryDict
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app import ownership
from executions_app.api import names, query, request_ids
from executions_app.api.filters import BoundedFilterSet
from executions_app.api.parsers import MOST_BYTES
from executions_app.api.problem import Meanings
from executions_app.api.query import PAGE_NAMES
from executions_app.audit import Actor

Row = TypeVar("Row", bound=Model)


class SnakeCaseFilterBackend(DjangoFilterBackend):  # type: ignore[misc]  # untyped library
    """Filters by names in either spelling; tells the view which rows are to be looked through."""

    def get_filterset(self, request: Request, queryset: Any, view: Any) -> Any:
        filterset = super().get_filterset(request, queryset, view)
        if isinstance(filterset, BoundedFilterSet) and filterset.is_valid():
            view.looked_through = filterset.looked_through()
        return filterset

    def get_filterset_kwargs(self, request: Request, queryset: Any, view: Any) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_filterset_kwargs(request, queryset, view)
        data: QueryDict = names.snake_query(request.query_params)
        return {**kwargs, "data": data}


class ApiView(GenericAPIView[Row], Generic[Row]):
    """A view on rows of one model, of which a caller sees their own.

    `rows` are all there are; `ordering_fields` the names a list may be ordered by, beside
    `created_at`, which ids follow; `meanings` what exceptions of the app mean over HTTP;
    `query_names` what may stand in the query beside filters and pages (None: anything);
    `looked_through` the rows among which a filter without an index has to look, if there is one.
    """

    rows: QuerySet[Row]
    meanings: Meanings = {}
    ordering_fields: tuple[str, ...] = ("created_at",)
    filter_backends = [SnakeCaseFilterBackend]
    query_names: frozenset[str] | None = frozenset()
    looked_through: QuerySet[Any] | None = None

    def get_queryset(self) -> QuerySet[Row]:
        if getattr(self, "swagger_fake_view", False):
            return self.rows.none()
        return ownership.visible_to(self.request.user, self.rows.all())

    def find(self, **lookup: Any) -> Row:
        """The caller's row; 404 for none and for somebody else's."""
        row = self.get_queryset().filter(**lookup).first()
        if row is None:
            raise Http404
        self.check_object_permissions(self.request, row)
        return row

    def answer(self, row: Row, *, status: int = 200, **headers: str) -> Response:
        """The row as the view's serializer shows it; `If_Match` in `headers` is `If-Match`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(self.get_serializer(row).data, status=status, headers=named)

    @property
    def user(self) -> User:
        user = self.request.user
        assert isinstance(user, User)  # IsAuthenticated has let nobody else in
        return user

    @property
    def body(self) -> dict[str, Any]:
        """The request's JSON object."""
        data = self.request.data
        assert isinstance(data, dict)  # the parser lets nothing else through
        return data

    @property
    def actor(self) -> Actor:
        return Actor.of(self.user)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.query_params and self.query_names is not None:
            query.check(request, {*self.query_names, *self._list_names(request)})

    def _list_names(self, request: Request) -> Iterable[str]:
        """The names that make a list of what is asked for: those of filters and of pages."""
        filterset = getattr(self, "filterset_class", None)
        filters = filterset.base_filters if filterset else ()
        return (*filters, *PAGE_NAMES) if request.method in SAFE_METHODS else ()

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        request_ids.of(request)
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            # Without a length REST framework would take the body for an empty one.
            request.META.setdefault("CONTENT_LENGTH", str(MOST_BYTES))
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        final[request_ids.HEADER] = request_ids.of(request)
        return final
