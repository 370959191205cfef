from typing import Any

import msgspec

from alerts.models import Alert
from market.serializers import AnomalySerializer, ReviewedSerializer
from market.wire import messages


class StoredAlertSerializer(AnomalySerializer[Alert]):
    message = messages.Alert


class ReviewedAlertSerializer(ReviewedSerializer[Alert]):
    """Adds `history`: the chart up to the opening of the episode."""

    message = messages.Alert

    def to_representation(self, instance: Alert) -> dict[str, Any]:
        return super().to_representation(instance) | {"history": msgspec.to_builtins(instance.chart)}
