from typing import Any

import msgspec
from rest_framework import serializers

from alerts.models import Alert
from market.serializers import AnomalySerializer, ReviewedSerializer, SeveritiesSerializer
from market.wire import messages


class AlertCountsSerializer(serializers.Serializer[Any]):
    alerts = serializers.IntegerField(help_text="Number of alerts.")
    symbols = serializers.IntegerField(help_text="Number of different symbols.")
    severities = SeveritiesSerializer(help_text="The alerts by severity.")


class AlertSummarySerializer(serializers.Serializer[Any]):
    timestamp = serializers.IntegerField(help_text="Server time, epoch milliseconds.")
    as_of = serializers.IntegerField(help_text="End of the 24 hours, epoch milliseconds.")
    open = AlertCountsSerializer(help_text="What is open or escalated now.")
    last_24h = AlertCountsSerializer(help_text="What closed its candle in the 24 hours before `as_of`.")


class StoredAlertSerializer(AnomalySerializer[Alert]):
    message = messages.Alert

    @classmethod
    def names(cls) -> list[str]:
        return [name for name in super().names() if name != "history"]


class ReviewedAlertSerializer(ReviewedSerializer[Alert]):
    """Adds `history`: the chart up to the opening of the episode."""

    message = messages.Alert

    def to_representation(self, instance: Alert) -> dict[str, Any]:
        return super().to_representation(instance) | {"history": msgspec.to_builtins(instance.chart)}
