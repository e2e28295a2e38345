"""Admin pages whose writes go through the app's own operations, and show what these refuse."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from executions_app.admin_records import OwnedAdmin, Rows
from executions_app.states import SchedulerException

DJANGOS_OWN: Any = admin.ModelAdmin  # unfold, whose types are unknown, stands between


class OutsideATransaction(DJANGOS_OWN):  # type: ignore[misc]  # of a class without types
    """Stands before Django's own class, which would wrap every edit in one transaction.

    The operations have their own, and talk to Redis between them: inside of another one, locks
    would be held meanwhile, and a worker would look for executions that are not committed.
    """

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one row; asked for by the admin's site, which has checked the CSRF token."""
        shown: HttpResponse = self._changeform_view(request, object_id, form_url, extra_context)
        return shown


class DoorAdmin(OwnedAdmin, OutsideATransaction):
    """A refusal (name taken, edited meanwhile, still needed) is a message; nothing was stored."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            shown: HttpResponse = super().changeform_view(
                request, object_id, form_url, extra_context
            )
        except SchedulerException as error:
            return self._refused(request, error)
        return shown

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            shown: HttpResponse = super().delete_view(request, object_id, extra_context)
        except SchedulerException as error:
            return self._refused(request, error)
        return shown

    def delete_queryset(self, request: HttpRequest, queryset: Rows) -> None:
        for one in queryset:
            try:
                self.delete_model(request, one)
            except SchedulerException as error:
                messages.error(request, f"{one} was not deleted: {error}")

    def _refused(self, request: HttpRequest, error: SchedulerException) -> HttpResponse:
        messages.error(request, str(error))
        return HttpResponseRedirect(request.get_full_path())
