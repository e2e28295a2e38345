"""How agents, providers, endpoints and credentials of cycles are chosen."""

from __future__ import annotations

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from agents_app.models import Agent, Credential, Endpoint, Provider
from agents_app.models_objects import CredentialKind, SideEffect
from executions_app.api.filters import BoundedFilterSet, WordsFilter


class NamedFilter(BoundedFilterSet):
    """What all of them can be chosen by."""

    name = filters.CharFilter()
    search = filters.CharFilter(field_name="name", lookup_expr="icontains")


class AgentFilter(NamedFilter):
    """Every name by which agents can be chosen."""

    enabled = filters.BooleanFilter()
    provider = filters.CharFilter(field_name="provider__name")
    capability = filters.CharFilter(method="capable", help_text="one that it must have")

    class Meta:
        model = Agent
        fields: list[str] = []

    def capable(self, rows: QuerySet[Agent], _name: str, word: str) -> QuerySet[Agent]:
        """Agents that can do this."""
        return rows.filter(capabilities__contains=[word])


class ProviderFilter(NamedFilter):
    """Every name by which providers can be chosen."""

    enabled = filters.BooleanFilter()

    class Meta:
        model = Provider
        fields: list[str] = []


class EndpointFilter(NamedFilter):
    """Every name by which endpoints can be chosen."""

    enabled = filters.BooleanFilter()
    side_effect = WordsFilter(SideEffect)

    class Meta:
        model = Endpoint
        fields: list[str] = []


class CredentialFilter(NamedFilter):
    """Every name by which credentials can be chosen."""

    kind = WordsFilter(CredentialKind)
    shared = filters.BooleanFilter(field_name="owner", lookup_expr="isnull")

    class Meta:
        model = Credential
        fields: list[str] = []
