"""The shapes of bulk operations on executions and other rows; `bulk.shapes` makes them."""

from __future__ import annotations

from typing import Any, Final

from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from executions_app.api import names
from executions_app.api.filters import (
    BoundedFilterSet,
    WordsFilter,
    created_after,
    created_before,
)
from executions_app.api.serializers import ObjectField, StrictSerializer, words
from executions_app.states import BulkStatus
from scheduler_app.bulk import choosing, shapes
from scheduler_app.bulk.operations import Wanted
from scheduler_app.models import BulkOperation
from scheduler_app.models_bulk import BulkVerb

BULK_STATUSES: Final = words(BulkStatus)
BULK_VERBS: Final = words(BulkVerb)
BULK_LISTS: Final = sorted({one.list.name for one in choosing.KINDS.values()})
EXAMPLE: Final = {
    "id": "0195f2c4-9a00-7a0b-8d11-5a6b7c8d9e0f",
    "owner": 1,
    "verb": "requeue",
    "list": "dead_letters",
    "filter": {"error_class": "timeout"},
    "note": "the server is back",
    "reason": "",
    "until": None,
    "status": "running",
    "detail": "",
    "total": 812,
    "is_total_capped": False,
    "done": 499,
    "refused": 1,
    "refusals": [
        {
            "id": "0195f2c4-7d1e-7f0a-9a55-3d2a6d1c9b11",
            "detail": "it is requeued by now",
        }
    ],
    "created_at": "2026-12-01T09:00:00.310Z",
    "started_at": "2026-12-01T09:00:00.950Z",
    "ended_at": None,
    "updated_at": "2026-12-01T09:00:00.950Z",
}


class BulkFilter(BoundedFilterSet):
    """Every name by which bulk operations can be chosen."""

    status = WordsFilter(BulkStatus)
    verb = WordsFilter(BulkVerb)
    created_after = filters.IsoDateTimeFilter(method=created_after)
    created_before = filters.IsoDateTimeFilter(method=created_before)

    class Meta:
        model = BulkOperation
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        return (name == "status" and value == ["running"]) or super().is_by_index(name, value)


@extend_schema_field({"description": "as in the URL; also a number, a truth or a list of words"})
class WordField(serializers.Field[str, Any, str, Any]):
    """The value of a filter as it would stand in a query: also a number, a truth or a list."""

    default_error_messages = {"not_a_word": "is no value of a query; write it as in the URL"}

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, list):
            return ",".join(self.to_internal_value(one) for one in data)
        if isinstance(data, bool):
            return str(data).lower()
        if not isinstance(data, str | int | float):
            self.fail("not_a_word")
        return str(data)

    def to_representation(self, value: str) -> str:
        return value


class NewBulkSerializer(StrictSerializer):
    """A verb, and the rows that it is for: the query of their list, or all of them."""

    verb = serializers.ChoiceField(BULK_VERBS)
    filter = serializers.DictField(
        child=WordField(),
        default=dict,
        help_text="the query of the list: executions for cancel and retry, dead letters for "
        "requeue and discard, errors for resolve and ignore, schedules for pause and resume",
    )
    all = serializers.BooleanField(default=False, help_text="instead of a filter: every row")
    note = serializers.CharField(default="", allow_blank=True, max_length=2000, help_text="why")
    reason = serializers.CharField(
        default="", allow_blank=True, max_length=500, help_text="of a pause, shown with it"
    )
    until = serializers.DateTimeField(
        default=None, allow_null=True, help_text="of a pause; null: until they are resumed"
    )
    dry_run = serializers.BooleanField(default=False, help_text="only say for which rows")

    def validate_filter(self, given: dict[str, str]) -> dict[str, str]:
        named = {names.snake(name): value for name, value in given.items()}
        if len(named) < len(given):
            raise serializers.ValidationError("a name is given in two spellings; keep one")
        return named

    def wanted(self) -> Wanted:
        said = self.validated_data
        return Wanted(
            BulkVerb(said["verb"]),
            said["filter"],
            takes_all=said["all"],
            note=said["note"],
            reason=said["reason"],
            until=said["until"],
        )


class ChosenRowSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    status = serializers.CharField()


class BulkPlanSerializer(serializers.Serializer[Any]):
    """For which rows an operation would be."""

    verb = serializers.ChoiceField(BULK_VERBS)
    total = serializers.IntegerField(help_text="counted up to 10,000")
    is_total_capped = serializers.BooleanField(help_text="true: there may be more")
    first = ChosenRowSerializer(many=True, help_text="up to 10, in the order of the act")


class RefusalSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    detail = serializers.CharField()


@extend_schema_serializer(
    examples=[OpenApiExample("half of the way", value=EXAMPLE, response_only=True)]
)
class BulkOperationSerializer(serializers.Serializer[BulkOperation]):
    """A bulk operation and how far it is."""

    id = serializers.UUIDField()
    owner = serializers.IntegerField(help_text="who began it, and as whom it acts")
    verb = serializers.ChoiceField(BULK_VERBS)
    list = serializers.ChoiceField(BULK_LISTS)
    filter = ObjectField(help_text="the query of the list; empty: all")
    note = serializers.CharField()
    reason = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True)
    status = serializers.ChoiceField(BULK_STATUSES)
    detail = serializers.CharField(help_text="why it ended early")
    total = serializers.IntegerField(help_text="when it began, counted up to 10,000")
    is_total_capped = serializers.BooleanField(help_text="true: there may have been more")
    done = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="rows that had changed, or are not yours to move")
    refusals = RefusalSerializer(many=True, help_text="the first 100")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: BulkOperation) -> dict[str, Any]:
        return shapes.operation(instance)
