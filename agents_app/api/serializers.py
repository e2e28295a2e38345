"""The shapes of what a cycle may use, over HTTP: agents, providers, endpoints, credentials."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from agents_app.credential_hosts import MOST_HOSTS
from agents_app.models import Agent, Credential, Endpoint, Provider
from agents_app.models_objects import CredentialKind, ModelMode, SideEffect
from agents_app.objects.agents import MOST_AT_ONCE, MOST_INSTRUCTIONS
from agents_app.objects.endpoints import LONGEST_TIMEOUT_MS, MOST_RETRIES
from agents_app.objects.standing import AgentState, Standing
from errors_app.backoff import Jitter, Strategy
from errors_app.taxonomy import ErrorClass
from executions_app.api.serializers import ObjectField, words

AGENT_STATES: Final = words(AgentState)
CREDENTIAL_KINDS: Final = words(CredentialKind)
SIDE_EFFECTS: Final = words(SideEffect)
METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
COMPUTED: Final = ["id", "created_at", "updated_at"]
HEALTH: Final = [
    "failures_in_row", "last_error", "last_error_at", "last_success_at", "unhealthy_until",
]  # fmt: skip
CREDENTIAL_EXAMPLE: Final = {
    "name": "reports-key",
    "kind": "header",
    "parameter": "X-Api-Key",
    "hosts": ["caches.example.com", "*.reports.example.com:8443"],
}
PROVIDER_EXAMPLE: Final = {
    "name": "local",
    "base_url": "http://ollama.internal:11434/v1",
    "credential": None,
    "fallback_provider": "default",
    "enabled": True,
    "models": [
        {
            "name": "llama3.3",
            "usd_per_1m_input": "0",
            "usd_per_1m_output": "0",
            "context_tokens": 128_000,
        }
    ],
}
AGENT_EXAMPLE: Final = {
    "name": "warmer",
    "provider": "local",
    "model": "llama3.3",
    "temperature": 0.2,
    "instructions": "Warm what was cold longest first.",
    "capabilities": ["caches"],
    "tools": [],
    "max_concurrent": 5,
    "fallback_agent": "default",
    "enabled": True,
}
ENDPOINT_EXAMPLE: Final = {
    "name": "warm-eu",
    "description": "Warms the cache of one region",
    "method": "POST",
    "url": "https://caches.example.com/regions/{region}/warm",
    "headers": {"X-Api-Key": {"credential": "reports-key"}},
    "parameters_schema": {
        "type": "object",
        "properties": {"region": {"type": "string", "enum": ["eu", "us"]}},
        "required": ["region"],
        "additionalProperties": False,
    },
    "side_effect": "write",
    "timeout_ms": 30_000,
    "critical": False,
    "retry": {"max_retries": 2, "base_ms": 500},
    "enabled": True,
}


class NameField(serializers.CharField):
    """Another object by its name; in requests also by its id."""

    def get_attribute(self, instance: Any) -> Any:
        found: Any = super().get_attribute(instance)
        return None if found is None else found.name


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "a header", value={**CREDENTIAL_EXAMPLE, "value": "the secret"}, request_only=True
        )
    ]
)
class CredentialSerializer(serializers.ModelSerializer[Credential]):
    """A secret that calls carry; its value goes in and never comes out."""

    kind = serializers.ChoiceField(CREDENTIAL_KINDS, required=False)
    hosts = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        max_length=MOST_HOSTS,
        help_text="where it may travel: a host, an address or `*.example.com`, with a port or at "
        "all; empty: anywhere, which a shared one may not",
    )
    value = serializers.CharField(write_only=True, help_text="basic: `user:password`")
    shared = serializers.BooleanField(
        required=False, help_text="of everybody; only operators make those; it stays as it is"
    )
    has_value = serializers.SerializerMethodField()

    class Meta:
        model = Credential
        fields = [
            "id", *CREDENTIAL_EXAMPLE, "value", "shared", "owner", "has_value", "rotated_at",
            "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = [*COMPUTED, "owner", "has_value", "rotated_at"]

    def to_representation(self, instance: Credential) -> dict[str, Any]:
        instance.shared = instance.owner_id is None  # type: ignore[attr-defined]  # shown only
        return super().to_representation(instance)

    def get_has_value(self, instance: Credential) -> bool:
        return bool(instance.value)


class ModelPriceSerializer(serializers.Serializer[Any]):
    """What a model costs; prices are of a million tokens."""

    name = serializers.CharField()
    usd_per_1m_input = serializers.DecimalField(max_digits=14, decimal_places=6, required=False)
    usd_per_1m_output = serializers.DecimalField(max_digits=14, decimal_places=6, required=False)
    context_tokens = serializers.IntegerField(required=False, allow_null=True, min_value=1)


@extend_schema_serializer(
    examples=[OpenApiExample("a local one", value=PROVIDER_EXAMPLE, request_only=True)]
)
class ProviderSerializer(serializers.ModelSerializer[Provider]):
    """Who offers models; its key is a credential, and never shown."""

    credential = NameField(required=False, allow_null=True, help_text="by name or id")
    fallback_provider = NameField(required=False, allow_null=True, help_text="by name or id")
    models = ModelPriceSerializer(many=True, required=False)
    mode = serializers.ChoiceField(words(ModelMode), read_only=True, help_text="as it was probed")

    class Meta:
        model = Provider
        fields = [
            "id", *PROVIDER_EXAMPLE, "is_from_environment", "mode", "probed_at", *HEALTH,
            "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = [*COMPUTED, "is_from_environment", "mode", "probed_at", *HEALTH]

    def to_representation(self, instance: Provider) -> dict[str, Any]:
        return {**super().to_representation(instance), "models": instance.models}


class CapacitySerializer(serializers.Serializer[Any]):
    """How many cycles an agent works on at most, now, and could begin besides."""

    max = serializers.IntegerField()
    used = serializers.IntegerField()
    free = serializers.IntegerField()
    utilisation = serializers.FloatField(help_text="used / max")


@extend_schema_serializer(
    examples=[OpenApiExample("one of several", value=AGENT_EXAMPLE, request_only=True)]
)
class AgentSerializer(serializers.ModelSerializer[Agent]):
    """A model with instructions, what it can do, and how much of it at once."""

    provider = NameField(help_text="by name or id")
    model = serializers.CharField(
        required=False, allow_blank=True, help_text="empty: its provider's first"
    )
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False)
    instructions = serializers.CharField(
        required=False, allow_blank=True, max_length=MOST_INSTRUCTIONS
    )
    max_concurrent = serializers.IntegerField(min_value=1, max_value=MOST_AT_ONCE, required=False)
    fallback_agent = NameField(required=False, allow_null=True, help_text="by name or id")
    capabilities = serializers.ListField(child=serializers.CharField(), required=False)
    tools = serializers.ListField(child=serializers.CharField(), required=False)
    state = serializers.ChoiceField(AGENT_STATES, read_only=True)
    capacity = CapacitySerializer(read_only=True)

    class Meta:
        model = Agent
        fields = [
            "id", *AGENT_EXAMPLE, "is_from_environment", "state", "capacity", *HEALTH,
            "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = [*COMPUTED, "is_from_environment", "state", "capacity", *HEALTH]

    def to_representation(self, instance: Standing) -> dict[str, Any]:  # type: ignore[override]
        row = instance.agent
        row.state, row.capacity = (  # type: ignore[attr-defined]  # shown, not stored
            instance.state.value,
            instance.capacity,
        )
        shown = super().to_representation(row)
        # It may quote what a model said about the work of others.
        return shown if self.context.get("sees_errors", True) else {**shown, "last_error": ""}


class AgentCapacitySerializer(CapacitySerializer):
    """The capacity of one agent."""

    agent_id = serializers.UUIDField()
    name = serializers.CharField()
    state = serializers.ChoiceField(AGENT_STATES)

    def to_representation(self, instance: Standing) -> dict[str, Any]:
        return {
            "agent_id": str(instance.agent.id),
            "name": instance.agent.name,
            "state": instance.state.value,
            **CapacitySerializer(instance.capacity).data,
        }


class EndpointRetrySerializer(serializers.Serializer[Any]):
    """How a call is tried again within one step."""

    max_retries = serializers.IntegerField(
        min_value=0, max_value=MOST_RETRIES, required=False, help_text="default 2"
    )
    strategy = serializers.ChoiceField(words(Strategy), required=False)
    base_ms = serializers.IntegerField(min_value=1, required=False)
    cap_ms = serializers.IntegerField(min_value=1, required=False)
    jitter = serializers.ChoiceField(words(Jitter), required=False)
    retryable_classes = serializers.ListField(
        child=serializers.ChoiceField(words(ErrorClass)), required=False
    )
    per_class = ObjectField(required=False, help_text="as in the retry policy of a schedule")
    idempotent = serializers.BooleanField(
        required=False, help_text="whether carrying it out twice does no more than once"
    )


@extend_schema_field({"type": "object", "additionalProperties": {}})
class HeadersField(ObjectField):
    """Header -> a text, or `{"credential": "name"}`."""


@extend_schema_serializer(
    examples=[OpenApiExample("with a parameter", value=ENDPOINT_EXAMPLE, request_only=True)]
)
class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    """A call that plans may make; secrets in it go by reference."""

    method = serializers.ChoiceField(METHODS, required=False)
    url = serializers.CharField(help_text="`{name}` in its path is a parameter")
    headers = HeadersField(
        required=False, help_text='a text each, or `{"credential": "name"}` for a secret'
    )
    parameters_schema = ObjectField(
        required=False, help_text="JSON Schema (2020-12) of an object; what it does not name is "
        "not sent, unless it says so",
    )  # fmt: skip
    side_effect = serializers.ChoiceField(
        SIDE_EFFECTS, required=False, help_text="default: GET and HEAD read, others write"
    )
    timeout_ms = serializers.IntegerField(
        min_value=1, max_value=LONGEST_TIMEOUT_MS, required=False, help_text="of one call"
    )
    retry = EndpointRetrySerializer(required=False)

    class Meta:
        model = Endpoint
        fields = ["id", "owner", *ENDPOINT_EXAMPLE, "created_at", "updated_at"]
        read_only_fields = [*COMPUTED, "owner"]

    def to_representation(self, instance: Endpoint) -> dict[str, Any]:
        return {**super().to_representation(instance), "retry": instance.retry}
