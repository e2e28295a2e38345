"""The Overview: how everything stands, on one page that keeps itself current."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseClientRedirect

from executions_app import clock
from executions_app.models import Execution
from scheduler_app import overview as look
from scheduler_app.models import Schedule


@require_safe
@never_cache
@vary_on_headers("HX-Request")
def overview(request: HttpRequest) -> HttpResponse:
    """`/`: the whole page, or for htmx only what changes on it."""
    is_fragment = bool(getattr(request, "htmx", False))
    user = request.user
    if not isinstance(user, AbstractUser):
        if is_fragment:
            return HttpResponseClientRedirect(f"{settings.LOGIN_URL}?next=/")
        return redirect_to_login(request.get_full_path())
    template = "scheduler_app/overview_live.html" if is_fragment else "scheduler_app/overview.html"
    return render(request, template, _context(user))


def _context(user: AbstractUser) -> dict[str, Any]:
    now = clock.now()
    return {
        "overview": look.read(user, now=now),
        "now": now,
        "links_schedules": user.is_staff and admin.site.is_registered(Schedule),
        "links_executions": user.is_staff and admin.site.is_registered(Execution),
    }
