"""Anomalies over HTTP: the wire message as it is stored, and beside it what the database knows more."""

from typing import Any, ClassVar, TypeVar

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework import serializers

from market.models import Anomaly, MarketAnomaly, ReviewState, StressSample
from market.wire import messages
from market.wire.times import epoch_ms

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)


class AnomalySerializer(serializers.BaseSerializer[AnomalyT]):
    """`message` is the type of the wire message; `added` describes, as JSON Schema, what stands beside it."""

    message: ClassVar[Any]
    added: ClassVar[dict[str, Any]] = {
        "offset": {"type": "integer", "description": "Place of this revision in the stream."},
        "review_state": {"type": "string", "enum": ReviewState.values},
    }

    def to_representation(self, instance: AnomalyT) -> dict[str, Any]:
        message: dict[str, Any] = msgspec.json.decode(instance.payload)
        return message | {"offset": instance.offset, "review_state": instance.review_state}


class ReviewedSerializer(AnomalySerializer[AnomalyT]):
    """The detail view: with the whole review."""

    added = AnomalySerializer.added | {
        "review_note": {"type": "string"},
        "reviewed_by": {"type": ["string", "null"], "description": "User name."},
        "reviewed_at": {"type": ["integer", "null"], "description": "Epoch milliseconds."},
    }

    def to_representation(self, instance: AnomalyT) -> dict[str, Any]:
        return super().to_representation(instance) | {
            "review_note": instance.review_note,
            "reviewed_by": instance.reviewed_by and instance.reviewed_by.get_username(),
            "reviewed_at": instance.reviewed_at and epoch_ms(instance.reviewed_at),
        }


class ReviewSerializer(serializers.Serializer[Any]):
    """What a reviewer says. Named as in the answers."""

    review_state = serializers.ChoiceField(ReviewState.choices, default=ReviewState.ACKNOWLEDGED)
    review_note = serializers.CharField(required=False, allow_blank=True, max_length=4_000, help_text="Absent: kept.")


class StoredMarketAnomalySerializer(AnomalySerializer[MarketAnomaly]):
    message = messages.MarketAnomaly


class ReviewedMarketAnomalySerializer(ReviewedSerializer[MarketAnomaly]):
    message = messages.MarketAnomaly


class StressSerializer(AnomalySerializer[Any]):
    message = messages.StressIndex
    added: ClassVar[dict[str, Any]] = {}

    def to_representation(self, instance: StressSample) -> dict[str, Any]:
        index: dict[str, Any] = msgspec.json.decode(instance.payload)
        return index


class WireSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """The OpenAPI of a wire message comes from its `msgspec` type: described in one place only."""

    target_class = AnomalySerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        (wire,), components = msgspec.json.schema_components(
            [self.target.message], ref_template="#/components/schemas/{name}"
        )
        for name, schema in components.items():
            component = ResolvedComponent(name, ResolvedComponent.SCHEMA, schema, name)  # type: ignore[no-untyped-call]
            auto_schema.registry.register_on_missing(component)
        added = self.target.added
        return {"allOf": [wire, {"type": "object", "required": list(added), "properties": added}]}


# --- Sectors ---------------------------------------------------------------------------------------------------------


class SectorMapSerializer(serializers.Serializer[Any]):
    """Which map the answer is from."""

    source = serializers.CharField(  # type: ignore[assignment]
        help_text="`coingecko`, or `built-in` for the map that ships with the project."
    )
    version = serializers.CharField()
    fetched_at = serializers.IntegerField(allow_null=True, help_text="Epoch milliseconds; null: never fetched.")
    age_ms = serializers.IntegerField(allow_null=True)
    max_age_ms = serializers.IntegerField(help_text="Older than this it has expired.")
    expired = serializers.BooleanField(help_text="Sector anomalies are marked `degraded` then.")
    overrides = serializers.IntegerField(help_text="Coins a reviewer decided on.")


class SectorSerializer(serializers.Serializer[Any]):
    sector = serializers.CharField()
    size = serializers.IntegerField()
    symbols = serializers.ListField(child=serializers.CharField(), help_text="Against USDT; sorted.")


class SectorsSerializer(serializers.Serializer[Any]):
    map = SectorMapSerializer()
    results = SectorSerializer(many=True)


class SymbolSerializer(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    base = serializers.CharField(allow_null=True, help_text="The coin it is about; null: unknown to the map.")
    name = serializers.CharField(allow_null=True)
    market_cap_rank = serializers.IntegerField(allow_null=True)
    sectors = serializers.ListField(child=serializers.CharField())
    source = serializers.CharField(  # type: ignore[assignment]
        allow_null=True, help_text="`override`, `coingecko` or `built-in`."
    )


class SymbolsSerializer(serializers.Serializer[Any]):
    map = SectorMapSerializer()
    results = SymbolSerializer(many=True)
