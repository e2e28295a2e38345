"""What a cycle may use, in the admin: credentials, providers, agents and endpoints.

It stands on the top floor because its forms are those of this floor's doors. The value of a
credential goes in and is never shown.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model, Q
from django.http import HttpRequest
from unfold import widgets

from agents_app.models import Agent, Credential, Endpoint, Provider
from agents_app.models_objects import CredentialKind, SideEffect
from agents_app.objects import agents, credentials, drafts, endpoints, providers
from agents_app.objects.agents import AgentDraft
from agents_app.objects.credentials import CredentialDraft
from agents_app.objects.drafts import Draft, Invalid
from agents_app.objects.endpoints import EndpointDraft
from agents_app.objects.providers import ProviderDraft
from executions_app import permissions
from executions_app.admin_records import Rows, one_of
from executions_app.audit import Actor
from scheduler_app import admin_fields
from scheduler_app.admin_doors import DoorAdmin
from scheduler_app.admin_fields import json_field, number, text

HEALTH = ("failures_in_row", "last_error", "last_error_at", "last_success_at", "unhealthy_until")
COMPUTED = ("id", "created_at", "updated_at")


class ObjectForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Leaves the row alone: `words` are what the operations are to be told.

    An emptied field takes its default; of a credential's value it says that this stays.
    """

    draft: ClassVar[type[Draft]]
    emptied: ClassVar[dict[str, Any]] = {}

    @property
    def words(self) -> dict[str, Any]:
        given = {name: self.cleaned_data.get(name) for name in self.draft.model_fields}
        said = {name: value for name, value in given.items() if value not in (None, "")}
        return {**self.emptied, **said}

    def clean(self) -> dict[str, Any]:
        if not self.errors:
            try:
                drafts.parse(self.draft, self.words)
            except Invalid as error:
                for one in error.problems:
                    field, *inner = one.path or ("",)
                    message = ": ".join([*inner, one.message])
                    self.add_error(field if field in self.fields else None, message)
        return self.cleaned_data

    def _post_clean(self) -> None:
        """Nothing: the row is not written here, and its words have been judged already."""


class CredentialForm(ObjectForm):
    draft = CredentialDraft
    emptied: ClassVar[dict[str, Any]] = {"parameter": "", "hosts": []}
    name = text("Name")
    kind = admin_fields.one_of("Kind", CredentialKind, CredentialKind.BEARER)
    parameter = text("Parameter", help_text="the header or query parameter that carries it")
    hosts = json_field(
        "Hosts",
        '["api.example.com", "*.example.com:8443"]: where it may travel; empty: anywhere, which a '
        "shared one may not",
    )
    value = forms.CharField(
        label="Value",
        required=False,
        strip=False,
        help_text="never shown again; of kind basic: user:password; empty: as it is",
        widget=widgets.UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
    )
    shared = forms.BooleanField(
        label="Shared",
        required=False,
        help_text="of everybody: whoever registers endpoints can use it, at the hosts it names",
        widget=widgets.UnfoldBooleanSwitchWidget(),
    )

    class Meta:
        model = Credential
        fields = ("name", "kind", "parameter", "hosts")

    def clean(self) -> dict[str, Any]:
        found = super().clean()
        is_old = not self.instance._state.adding  # noqa: SLF001  Django's documented name for it
        is_shared = self.instance.owner_id is None if is_old else found.get("shared")
        if is_shared and not found.get("hosts") and "hosts" not in self.errors:
            self.add_error("hosts", credentials.NEEDS_HOSTS)
        return found


class ProviderForm(ObjectForm):
    draft = ProviderDraft
    emptied: ClassVar[dict[str, Any]] = {
        "base_url": "", "credential": None, "fallback_provider": None, "models": [],
    }  # fmt: skip
    name = text("Name")
    base_url = text("Base URL", help_text="such as http://ollama.internal:11434/v1; empty: OpenAI")
    models = json_field(
        "Models",
        '[{"name": "gpt-4o-mini", "usd_per_1m_input": "0.15", "usd_per_1m_output": "0.60", '
        '"context_tokens": 128000}]; prices are your own to keep',
    )

    class Meta:
        model = Provider
        fields = ("name", "base_url", "credential", "fallback_provider", "enabled", "models")
        widgets: ClassVar[Any] = {"enabled": widgets.UnfoldBooleanSwitchWidget()}

    @property
    def words(self) -> dict[str, Any]:
        return _by_id(super().words, "credential", "fallback_provider")


class AgentForm(ObjectForm):
    draft = AgentDraft
    emptied: ClassVar[dict[str, Any]] = {
        "model": "", "instructions": "", "capabilities": [], "tools": [], "fallback_agent": None,
    }  # fmt: skip
    name = text("Name")
    model = text("Model", help_text="empty: the first of its provider")
    instructions = forms.CharField(
        label="Instructions", required=False, widget=widgets.UnfoldAdminTextareaWidget()
    )
    capabilities = json_field("Capabilities", '["caches", "reports"]')
    tools = json_field("Tools", "names of tools; empty: none")
    max_concurrent = number("Most cycles at once")

    class Meta:
        model = Agent
        fields = (
            "name", "provider", "model", "temperature", "instructions", "capabilities", "tools",
            "max_concurrent", "fallback_agent", "enabled",
        )  # fmt: skip
        widgets: ClassVar[Any] = {"enabled": widgets.UnfoldBooleanSwitchWidget()}

    @property
    def words(self) -> dict[str, Any]:
        return _by_id(super().words, "provider", "fallback_agent")


class EndpointForm(ObjectForm):
    draft = EndpointDraft
    emptied: ClassVar[dict[str, Any]] = {
        "description": "", "headers": {}, "parameters_schema": {}, "retry": {},
    }  # fmt: skip
    name = text("Name")
    description = text("Description", help_text="for the plan: what a call of it does")
    method = text("Method", "GET")
    url = text("URL", help_text="{name} in its path is a parameter")
    headers = json_field("Headers", '{"X-Team": "a", "X-Key": {"credential": "name"}}')
    parameters_schema = json_field("Parameters", "JSON Schema of an object; empty: none")
    side_effect = admin_fields.one_of("Side effect", SideEffect, SideEffect.READ)
    timeout_ms = number("Timeout", "milliseconds, up to 300,000")
    retry = json_field("Retries", '{"max_retries": 2, "base_ms": 500}, inside one step')

    class Meta:
        model = Endpoint
        fields = (
            "name", "description", "method", "url", "headers", "parameters_schema", "side_effect",
            "timeout_ms", "critical", "retry", "enabled",
        )  # fmt: skip
        widgets: ClassVar[Any] = {
            "enabled": widgets.UnfoldBooleanSwitchWidget(),
            "critical": widgets.UnfoldBooleanSwitchWidget(),
        }


class ObjectAdmin(DoorAdmin):
    """`operations` are the module that writes the rows."""

    operations: ClassVar[Any]
    search_fields = ("name", "=id")

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:  # noqa: ARG002  they have no owner
        return rows

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: Any) -> None:
        actor = Actor.of(request.user)
        if change:
            stored = self.operations.change(obj.pk, form.words, actor=actor)
        else:
            stored = self.operations.create(form.words, actor=actor, **self.of_owner(request, form))
        obj.__dict__.update(stored.__dict__)

    def of_owner(self, request: HttpRequest, form: Any) -> dict[str, Any]:  # noqa: ARG002  for those who have one
        """To whom a new row belongs, if to anybody."""
        return {}

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self.operations.remove(obj.pk, actor=Actor.of(request.user))


@admin.register(Credential)
class CredentialAdmin(ObjectAdmin):
    form = CredentialForm
    operations: ClassVar[Any] = credentials
    list_display = ("name", "kind", "parameter", "hosts", "owner", "rotated_at")
    list_filter: ClassVar[Any] = (one_of("kind", CredentialKind),)
    list_select_related = ("owner",)
    readonly_fields = ("owner", "rotated_at", *COMPUTED)

    def get_fields(self, _request: HttpRequest, obj: Credential | None = None) -> tuple[str, ...]:
        shared = () if obj is not None else ("shared",)
        return ("name", "kind", "parameter", "hosts", "value", *shared, *self.readonly_fields)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id) | rows.filter(owner__isnull=True)

    def of_owner(self, request: HttpRequest, form: Any) -> dict[str, Any]:
        owner_id = None if form.cleaned_data.get("shared") else request.user.pk
        credentials.check_owner(request.user, owner_id=owner_id)
        return {"owner_id": owner_id}


class OperatorsAdmin(ObjectAdmin):
    """Operators alone have these, whatever permissions an account holds."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        is_theirs: bool = super().has_module_permission(request)
        return is_theirs and permissions.is_operator(request.user)


@admin.register(Provider)
class ProviderAdmin(OperatorsAdmin):
    form = ProviderForm
    operations: ClassVar[Any] = providers
    list_display = (
        "name", "base_url", "credential", "fallback_provider", "enabled", "is_from_environment",
        "unhealthy_until",
    )  # fmt: skip
    list_filter: ClassVar[Any] = ("enabled", "is_from_environment")
    list_select_related = ("credential", "fallback_provider")
    readonly_fields = ("is_from_environment", "mode", "probed_at", *HEALTH, *COMPUTED)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Keys to choose from: shared ones, one's own, and those that providers have already."""
        if db_field.name == "credential":
            is_known = Q(owner__isnull=True) | Q(owner_id=request.user.pk)
            chosen = Credential.objects.filter(is_known | Q(providers__isnull=False))
            kwargs["queryset"] = chosen.distinct()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(Agent)
class AgentAdmin(OperatorsAdmin):
    form = AgentForm
    operations: ClassVar[Any] = agents
    list_display = (
        "name", "provider", "model", "max_concurrent", "capabilities", "fallback_agent", "enabled",
        "unhealthy_until",
    )  # fmt: skip
    list_filter: ClassVar[Any] = ("enabled", "provider")
    list_select_related = ("provider", "fallback_agent")
    readonly_fields = ("is_from_environment", *HEALTH, *COMPUTED)


@admin.register(Endpoint)
class EndpointAdmin(ObjectAdmin):
    form = EndpointForm
    operations: ClassVar[Any] = endpoints
    list_display = ("name", "method", "url", "side_effect", "critical", "enabled", "owner")
    list_filter: ClassVar[Any] = ("enabled", one_of("side_effect", SideEffect))
    list_select_related = ("owner",)
    readonly_fields = ("owner", *COMPUTED)

    def owned_by(self, rows: Rows, user_id: int | None) -> Rows:
        return rows.filter(owner_id=user_id)

    def of_owner(self, request: HttpRequest, form: Any) -> dict[str, Any]:  # noqa: ARG002  the form does not say
        return {"owner_id": request.user.pk}


def _by_id(words: dict[str, Any], *names: str) -> dict[str, Any]:
    """Rows that were chosen in the form, as the ids that the operations take."""
    chosen = {name: words[name] for name in names if isinstance(words.get(name), Model)}
    return {**words, **{name: str(one.pk) for name, one in chosen.items()}}
