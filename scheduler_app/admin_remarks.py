"""What agents remember and are told, in the admin: told there, taken back, never edited."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model, Q
from django.http import HttpRequest
from unfold import widgets

from agents_app.models import Memory
from agents_app.models_memory import MemoryKind
from agents_app.objects import remarks
from agents_app.objects.remarks import RemarkDraft
from executions_app.admin_records import Rows, Since, one_of
from scheduler_app import admin_fields
from scheduler_app.admin_agents import ObjectForm
from scheduler_app.admin_doors import DoorAdmin


class RemarkForm(ObjectForm):
    draft = RemarkDraft
    kind = forms.ChoiceField(
        label="Kind",
        choices=[(one.value, one.value) for one in remarks.LEFT_BY_PEOPLE],
        help_text="a message is a wish or news; a fact stays",
        widget=widgets.UnfoldAdminSelectWidget(),
    )
    text = forms.CharField(label="Text", widget=widgets.UnfoldAdminTextareaWidget())
    schedule_id = admin_fields.text("Schedule", help_text="name or id; empty: all of your own")
    shared = forms.BooleanField(
        label="Shared",
        required=False,
        help_text="about everybody's work",
        widget=widgets.UnfoldBooleanSwitchWidget(),
    )

    class Meta:
        model = Memory
        fields = ("agent", "kind")


def _user_of(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # the admin lets nobody else in
    return request.user


@admin.register(Memory)
class MemoryAdmin(DoorAdmin):
    form = RemarkForm
    list_display = ("created_at", "agent", "kind", "shown", "author", "owner_id", "schedule_id")
    list_filter: ClassVar[Any] = (Since, one_of("kind", MemoryKind))
    list_select_related = ("agent",)
    search_fields = ("=execution_id", "=schedule_id", "agent__name")
    exclude = ("vector", "space")

    def get_fields(self, _request: HttpRequest, obj: Memory | None = None) -> Any:
        if obj is None:
            return ("agent", "kind", "text", "schedule_id", "shared")
        hidden = set(self.exclude)
        return [one.name for one in Memory._meta.fields if one.name not in hidden]  # noqa: SLF001  Django's documented name for it

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(Q(owner_id=user_id) | Q(owner_id__isnull=True))

    def has_change_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Memory, form: Any, _change: Any) -> None:
        kind = MemoryKind(form.cleaned_data["kind"])
        agent = form.cleaned_data["agent"]
        row = remarks.leave(agent.id, form.words, kind=kind, user=_user_of(request))
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: Memory) -> None:
        remarks.remove(obj.id, user=_user_of(request))

    @admin.display(description="text")
    def shown(self, row: Memory) -> str:
        return row.text[:120]
