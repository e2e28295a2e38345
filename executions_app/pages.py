"""What the pages about executions share: who asks, keyset pages, and what a form came to.

Each page is a URL; htmx asks the same URL for what changes on it. A form works without a script:
it is carried out, and leads back to where it stood with a word on what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseClientRedirect

from executions_app import permissions
from executions_app.api.pagination import Cursor, Ordering
from executions_app.states import SchedulerException

PAGE_SIZE: Final = 50
Parameters = ParamSpec("Parameters")
View = Callable[Concatenate[HttpRequest, Parameters], HttpResponse]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list; `next` is the query of the page behind them, empty for none."""

    rows: list[Any]
    next: str
    is_first: bool


def signed_in(view: View[Parameters]) -> View[Parameters]:
    """Lets nobody else in; what it answers is never kept, and differs for htmx."""

    @never_cache
    @vary_on_headers("HX-Request")
    @wraps(view)
    def guarded(
        request: HttpRequest, /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> HttpResponse:
        if isinstance(request.user, User):
            return view(request, *args, **kwargs)
        where = request.get_full_path() if request.method in {"GET", "HEAD"} else "/"
        if is_fragment(request):
            return HttpResponseClientRedirect(f"{settings.LOGIN_URL}?{urlencode({'next': where})}")
        return redirect_to_login(where)

    return guarded


def for_operators(act: str) -> Callable[[View[Parameters]], View[Parameters]]:
    """Lets operators in only; others are told so. `act` is what they want, as in "stop it"."""

    def guard(view: View[Parameters]) -> View[Parameters]:
        @signed_in
        @wraps(view)
        def guarded(
            request: HttpRequest, /, *args: Parameters.args, **kwargs: Parameters.kwargs
        ) -> HttpResponse:
            try:
                permissions.check_operator(request.user, act)
            except permissions.OperatorNeeded as error:
                context = {"title": "For operators", "detail": str(error)}
                return render(request, "executions_app/refused.html", context, status=403)
            return view(request, *args, **kwargs)

        return guarded

    return guard


def is_fragment(request: HttpRequest) -> bool:
    """True if htmx asks, for what changes on a page."""
    return bool(getattr(request, "htmx", False))


def user_of(request: HttpRequest) -> User:
    """Who asks, behind `signed_in`."""
    assert isinstance(request.user, User)
    return request.user


def page_of(rows: QuerySet[Any], request: HttpRequest, *, ordering: Ordering) -> Page:
    """The rows behind the cursor of the query; a cursor that is none begins anew."""
    cursor = _cursor(request)
    chosen = ordering.sort(rows, reverse=False)
    try:
        behind = chosen if cursor is None else chosen.filter(ordering.beyond(cursor))
        found = list(behind[: PAGE_SIZE + 1])
    except (ValidationError, ValueError):  # its value is none of the column's type
        cursor, found = None, list(chosen[: PAGE_SIZE + 1])
    more = ""
    if len(found) > PAGE_SIZE:
        found = found[:PAGE_SIZE]
        query = request.GET.copy()
        query["cursor"] = str(ordering.place_of(found[-1], is_backward=False))
        more = query.urlencode()
    return Page(found, more, is_first=cursor is None)


def carried_out(request: HttpRequest, act: Callable[[], object], *, done: str) -> bool:
    """Do what a form asks and tell whoever sent it what became of it; True if it was done."""
    try:
        act()
    except SchedulerException as error:
        messages.error(request, str(error))
        return False
    messages.success(request, done)
    return True


def back(request: HttpRequest, *, otherwise: str) -> HttpResponse:
    """To the page whose form it was, if that is one of ours."""
    given = request.POST.get("back", "")
    is_ours = given.startswith("/") and url_has_allowed_host_and_scheme(given, allowed_hosts=None)
    return HttpResponseRedirect(given if is_ours else otherwise)


def _cursor(request: HttpRequest) -> Cursor | None:
    try:
        cursor = Cursor.parse(request.GET["cursor"])
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return None if cursor.is_backward else cursor
