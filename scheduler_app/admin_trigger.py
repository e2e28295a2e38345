"""Run a schedule now, from its page in the admin, with words for this one run."""

from __future__ import annotations

import json
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold import widgets
from unfold.decorators import action

from executions_app import strict_json
from executions_app.admin_records import OwnedAdmin
from executions_app.audit import Actor
from executions_app.states import SchedulerException
from scheduler_app import by_hand
from scheduler_app.admin_fields import text
from scheduler_app.api.serializers import MOST_PARAMETERS_BYTES
from scheduler_app.by_hand import Wanted
from scheduler_app.models import Schedule
from scheduler_app.policies import OverlapPolicy

MOST_DEPTH: Final = 100


class TriggerForm(forms.Form):
    """What can be said of one run; all of it may be left empty."""

    parameters = forms.CharField(
        label="Parameters",
        required=False,
        help_text='a JSON object for this run, such as {"tenant": "acme"}',
        widget=widgets.UnfoldAdminTextareaWidget(),
    )
    overlap = forms.ChoiceField(
        label="When the last run still runs",
        choices=[("", "as the schedule says"), *((one.value, one.value) for one in OverlapPolicy)],
        required=False,
        widget=widgets.UnfoldAdminSelectWidget(),
    )
    unique_key = text("Unique key", help_text="instead of the schedule's")

    def clean_parameters(self) -> dict[str, Any]:
        """The object; empty if nothing was written."""
        written: str = self.cleaned_data["parameters"].strip()
        try:
            read = strict_json.load(written or "{}", most_depth=MOST_DEPTH)
        except ValueError as error:
            raise forms.ValidationError(f"This is no JSON: {error}") from None
        if not isinstance(read, dict):
            raise forms.ValidationError("Write a JSON object, in braces")
        if len(json.dumps(read, ensure_ascii=False).encode()) > MOST_PARAMETERS_BYTES:
            raise forms.ValidationError(f"They are longer than {MOST_PARAMETERS_BYTES} bytes")
        return read

    def wanted(self) -> Wanted:
        """What is asked for, of a form that is valid."""
        said = self.cleaned_data
        overlap = OverlapPolicy(said["overlap"]) if said["overlap"] else None
        return Wanted(said["parameters"], overlap=overlap, unique_key=said["unique_key"])


class TriggersByForm(OwnedAdmin):
    """A button on the page of a schedule, and the form behind it."""

    actions_detail = ("trigger_with",)

    @action(
        description="Trigger with parameters",
        url_path="trigger",
        permissions=["change"],  # a name with a dot would ask the database in system checks
    )
    def trigger_with(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the words of the run, then start it and show it."""
        schedule = self.get_object(request, object_id)
        if schedule is None:
            raise Http404
        form = TriggerForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                triggered = by_hand.trigger(schedule, form.wanted(), actor=Actor.of(request.user))
            except SchedulerException as error:
                form.add_error(None, str(error))
            else:
                return _shown(request, triggered)
        return self._asked(request, schedule, form)

    def _asked(self, request: HttpRequest, schedule: Schedule, form: TriggerForm) -> HttpResponse:
        context = {
            **admin.site.each_context(request),
            "opts": Schedule._meta,  # noqa: SLF001  Django's documented name for it
            "title": f"Trigger {schedule.name}",
            "schedule": schedule,
            "form": form,
        }
        return TemplateResponse(request, "scheduler_app/admin_trigger.html", context)


def _shown(request: HttpRequest, triggered: by_hand.Triggered) -> HttpResponse:
    told = triggered.document()
    if told["number"] is None:
        messages.info(request, "The work was done already; its execution is not kept any more")
        return HttpResponseRedirect(reverse("admin:scheduler_app_schedule_changelist"))
    found = "was there already and " if triggered.is_duplicate else ""
    messages.success(request, f"Execution #{told['number']} {found}is {told['status']}")
    where = reverse("admin:executions_app_execution_change", args=[triggered.execution_id])
    return HttpResponseRedirect(where)
