"""Anomalies over HTTP: the stored wire message, plus fields that only the database has."""

from collections.abc import Collection
from typing import Any, ClassVar, Final, TypeVar, get_args

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework import serializers

from market.exports import scalars
from market.models import LONGEST_NOTE, Anomaly, MarketAnomaly, ReviewState, StressSample, refused_note
from market.reviewers import are_shown_to
from market.wire import messages, schema
from market.wire.times import epoch_ms

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)


class AnomalySerializer(serializers.BaseSerializer[AnomalyT]):
    """`message` is the type of the wire message; `added` is the JSON Schema of the fields added to it."""

    message: ClassVar[Any]
    added: ClassVar[dict[str, Any]] = {
        "offset": {"type": "integer", "description": "Place of this revision in the stream."},
        "review_state": {
            "type": "string",
            "enum": ReviewState.values,
            "description": "State of the review; new: not reviewed.",
        },
    }

    def to_representation(self, instance: AnomalyT) -> dict[str, Any]:
        message: dict[str, Any] = msgspec.json.decode(instance.payload)
        item = message | {"offset": instance.offset, "review_state": instance.review_state}
        wanted: Collection[str] = self.context.get("fields", ())
        if not wanted:
            return item
        # Some messages leave out what is null.
        return {name: value for name, value in item.items() if name in wanted} | {
            name: None for name in wanted if name not in item
        }

    @classmethod
    def names(cls) -> list[str]:
        """The names of the fields that an item may have."""
        kinds = get_args(cls.message) or (cls.message,)
        tags = [kind.__struct_config__.tag_field for kind in kinds if kind.__struct_config__.tag_field]
        fields = [field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)]
        return list(dict.fromkeys([*tags, *fields, *cls.added]))

    @classmethod
    def columns(cls) -> dict[str, str]:
        """The fields with one value each, as columns of an export: name → Arrow type."""
        return scalars(cls.message) | {"offset": "int64", "review_state": "string"}


class ReviewedSerializer(AnomalySerializer[AnomalyT]):
    """The detail view: adds the whole review."""

    added = AnomalySerializer.added | {
        "review_note": {
            "type": ["string", "null"],
            "description": "The reviewer's note; empty: none, null: for readers who sign in or have a token.",
        },
        "reviewed_by": {
            "type": ["string", "null"],
            "description": "User name of the reviewer; null: not reviewed, or as in review_note.",
        },
        "reviewed_at": {
            "type": ["integer", "null"],
            "description": "When it was reviewed, in epoch milliseconds (UTC); null: never.",
        },
    }

    def to_representation(self, instance: AnomalyT) -> dict[str, Any]:
        shown = are_shown_to(self.context["request"])
        return super().to_representation(instance) | {
            "review_note": instance.review_note if shown else None,
            "reviewed_by": instance.reviewed_by.get_username() if instance.reviewed_by and shown else None,
            "reviewed_at": instance.reviewed_at and epoch_ms(instance.reviewed_at),
        }


class ReviewSerializer(serializers.Serializer[Any]):
    """The body of a review; the fields have the same names as in the responses."""

    review_state = serializers.ChoiceField(
        ReviewState.choices, default=ReviewState.ACKNOWLEDGED, help_text="The review to set."
    )
    review_note = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_NOTE, help_text="Without it, the stored note stays."
    )

    def validate_review_note(self, note: str) -> str:
        if reason := refused_note(note):
            raise serializers.ValidationError(reason)
        return note


class SeveritiesSerializer(serializers.Serializer[Any]):
    """Number of anomalies per severity."""

    LOW = serializers.IntegerField(help_text="Number of anomalies of this severity.")
    MEDIUM = serializers.IntegerField(help_text="Number of anomalies of this severity.")
    HIGH = serializers.IntegerField(help_text="Number of anomalies of this severity.")
    CRITICAL = serializers.IntegerField(help_text="Number of anomalies of this severity.")


class MarketCountsSerializer(serializers.Serializer[Any]):
    anomalies = serializers.IntegerField(help_text="Number of market anomalies.")
    severities = SeveritiesSerializer(help_text="The same by severity.")


class MarketSummarySerializer(serializers.Serializer[Any]):
    timestamp = serializers.IntegerField(help_text="Server time, epoch milliseconds.")
    as_of = serializers.IntegerField(help_text="End of the 24 hours, epoch milliseconds.")
    open = MarketCountsSerializer(help_text="What is open or escalated now.")
    last_24h = MarketCountsSerializer(help_text="What closed its candle in the 24 hours before `as_of`.")


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
    """Generates the OpenAPI schema of a wire message from its `msgspec` type: flat objects, as generators want them.

    A message of several kinds is a union of such objects.
    """

    target_class = AnomalySerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        (wire,), components = schema.components([self.target.message])
        prefix = type(self.target).__name__.removesuffix("Serializer").removesuffix(_KIND)
        whole = [name for name in (*schema.MARKET, schema.OTHER) if name in components]
        flat = {name: schema.flat(name, self.target.added, components) for name in whole}
        for name, one in components.items():
            if f"#/components/schemas/{name}" != wire.get("$ref"):
                _register(auto_schema, f"{prefix}{name}" if name in flat else name, flat.get(name, one))
        if flat:
            return schema.market_union(schema.TEMPLATE.replace("{name}", f"{prefix}{{name}}"))
        return schema.flat(wire["$ref"].rpartition("/")[2], self.target.added, components)


_KIND: Final = "MarketAnomaly"


def _register(auto_schema: AutoSchema, name: str, one: dict[str, Any]) -> None:
    component = ResolvedComponent(name, ResolvedComponent.SCHEMA, one, name)  # type: ignore[no-untyped-call]
    auto_schema.registry.register_on_missing(component)


# --- Sectors ---------------------------------------------------------------------------------------------------------


class SectorMapSerializer(serializers.Serializer[Any]):
    """The sector map that the response is based on."""

    source = serializers.CharField(  # type: ignore[assignment]
        help_text="`coingecko`, or `built-in` for the map that is part of this software."
    )
    version = serializers.CharField(help_text="Version of the map.")
    fetched_at = serializers.IntegerField(
        allow_null=True, help_text="When it was fetched, in epoch milliseconds (UTC); null for the built-in map."
    )
    age_ms = serializers.IntegerField(
        allow_null=True, help_text="Time since `fetched_at`, in milliseconds; null for the built-in map."
    )
    max_age_ms = serializers.IntegerField(
        help_text="A map older than this many milliseconds has expired (SECTOR_MAX_AGE)."
    )
    expired = serializers.BooleanField(help_text="True: sector anomalies are marked `degraded`.")
    overrides = serializers.IntegerField(help_text="Number of coins whose sectors a reviewer corrected.")


class SectorSerializer(serializers.Serializer[Any]):
    sector = serializers.CharField(help_text="Name of the sector.")
    size = serializers.IntegerField(help_text="Number of symbols.")
    symbols = serializers.ListField(child=serializers.CharField(), help_text="Pairs against USDT, sorted.")


class SectorsSerializer(serializers.Serializer[Any]):
    map = SectorMapSerializer(help_text="The map in use.")
    results = SectorSerializer(many=True, help_text="Every sector, the largest first.")


class SymbolSerializer(serializers.Serializer[Any]):
    symbol = serializers.CharField(help_text="Symbol in the one spelling of all venues, like BTCUSDT.")
    base = serializers.CharField(
        allow_null=True, help_text="The coin of the pair; null if the map does not contain it."
    )
    name = serializers.CharField(allow_null=True, help_text="Name of the coin; null: unknown.")
    market_cap_rank = serializers.IntegerField(
        allow_null=True, help_text="Rank by market capitalisation, from 1; null: unknown."
    )
    sectors = serializers.ListField(child=serializers.CharField(), help_text="Names of its sectors.")
    source = serializers.CharField(  # type: ignore[assignment]
        allow_null=True,
        help_text="Where the sectors come from: `override`, `coingecko` or `built-in`; null if the coin is unknown.",
    )


class SymbolsSerializer(serializers.Serializer[Any]):
    map = SectorMapSerializer(help_text="The map in use.")
    results = SymbolSerializer(many=True, help_text="One for each symbol.")
