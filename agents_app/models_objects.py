"""What a cycle may use, as people have set it: secrets, model providers, agents and endpoints."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.schema import NEW_ID


class CredentialKind(StrEnum):
    """Where a secret travels: `bearer` and `basic` in Authorization, the others under a name."""

    BEARER = "bearer"
    BASIC = "basic"
    HEADER = "header"
    QUERY = "query"


class ModelMode(StrEnum):
    """How a provider is asked for JSON; empty while nobody has tried."""

    UNKNOWN = ""
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


class SideEffect(StrEnum):
    READ = "read"
    WRITE = "write"


class Credential(models.Model):
    """A secret that a call carries; nobody is ever shown its value again."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        help_text="empty: for everybody's endpoints, and set by operators only",
    )
    name = models.TextField()
    kind = models.TextField(default=CredentialKind.BEARER)
    parameter = models.TextField(
        default="", blank=True, help_text="the header or query parameter that carries it"
    )
    hosts = ArrayField(
        models.TextField(),
        default=list,
        db_default=[],
        blank=True,
        help_text="where it may travel; empty: anywhere, which a shared one may not",
    )
    value = models.TextField(help_text="encrypted by FIELD_ENCRYPTION_KEYS")
    rotated_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "credentials"
        constraints = [
            models.UniqueConstraint(name="credential_named_once", fields=["owner", "name"]),
            models.UniqueConstraint(
                name="shared_credential_named_once",
                fields=["name"],
                condition=Q(owner__isnull=True),
            ),
            models.CheckConstraint(
                name="credential_kind_known", condition=one_of("kind", CredentialKind)
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Health(models.Model):
    """How the latest calls went: what fails three times in a row is left out for a while."""

    failures_in_row = models.IntegerField(default=0, db_default=0)
    last_error = models.TextField(default="", db_default="", blank=True)
    last_error_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    unhealthy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Provider(Health):
    """Who offers models: an endpoint that speaks OpenAI's Chat Completions."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    name = models.TextField(unique=True)
    base_url = models.TextField(blank=True, help_text="empty: OpenAI's own")
    credential = models.ForeignKey(
        Credential, on_delete=models.PROTECT, null=True, blank=True, related_name="providers"
    )
    fallback_provider = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="stands_in_for"
    )
    enabled = models.BooleanField(default=True)
    is_from_environment = models.BooleanField(
        default=False, help_text="its key is read from the environment and stored nowhere"
    )
    mode = models.TextField(default=ModelMode.UNKNOWN, blank=True)
    probed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    # The last field: it takes the name of the module it is made of.
    models = models.JSONField(
        default=list,
        blank=True,
        help_text='[{"name", "usd_per_1m_input", "usd_per_1m_output", "context_tokens"}]',
    )

    class Meta:
        db_table = "providers"
        constraints = [
            models.CheckConstraint(name="provider_mode_known", condition=one_of("mode", ModelMode))
        ]

    def __str__(self) -> str:
        return self.name


class Agent(Health):
    """An AI worker: a model with instructions, what it can do, and how much of it at once."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    name = models.TextField(unique=True)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="agents")
    model = models.TextField()
    temperature = models.FloatField(default=0.2)
    instructions = models.TextField(default="", blank=True)
    capabilities = ArrayField(models.TextField(), default=list, blank=True)
    tools = ArrayField(models.TextField(), default=list, blank=True)
    max_concurrent = models.IntegerField(default=5)
    fallback_agent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="stands_in_for"
    )
    enabled = models.BooleanField(default=True)
    is_from_environment = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "agents"
        constraints = [
            models.CheckConstraint(
                name="agent_max_concurrent_positive", condition=Q(max_concurrent__gte=1)
            ),
            models.CheckConstraint(
                name="agent_temperature_in_range",
                condition=Q(temperature__gte=0, temperature__lte=2),
            ),
        ]
        indexes = [GinIndex(name="agent_capabilities", fields=["capabilities"])]

    def __str__(self) -> str:
        return self.name


class Endpoint(models.Model):
    """A call that a plan may make: nothing that is not registered here is ever called."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False)
    name = models.TextField()
    description = models.TextField(default="", blank=True)
    method = models.TextField(default="GET")
    url = models.TextField()
    headers = models.JSONField(
        default=dict, blank=True, help_text='{"X-Team": "a", "X-Key": {"credential": "name"}}'
    )
    parameters_schema = models.JSONField(default=dict, blank=True, help_text="JSON Schema")
    side_effect = models.TextField(default=SideEffect.READ)
    timeout_ms = models.IntegerField(default=30_000)
    critical = models.BooleanField(default=False)
    retry = models.JSONField(default=dict, blank=True, help_text="retries inside one step")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "endpoints"
        constraints = [
            models.UniqueConstraint(name="endpoint_named_once", fields=["owner", "name"]),
            models.CheckConstraint(
                name="endpoint_side_effect_known", condition=one_of("side_effect", SideEffect)
            ),
            models.CheckConstraint(
                name="endpoint_timeout_positive", condition=Q(timeout_ms__gte=1)
            ),
        ]

    def __str__(self) -> str:
        return self.name
