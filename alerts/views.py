"""Stored alerts over HTTP."""

from typing import Any

from django.db.models import Q, QuerySet
from rest_framework import generics

import market.selectors
from alerts import selectors
from alerts.filters import AlertFilter
from alerts.models import Alert
from alerts.serializers import AlertSummarySerializer, ReviewedAlertSerializer, StoredAlertSerializer
from market.views import AnomalyList, AnomalySummary, Review


class AlertList(AnomalyList[Alert]):
    queryset = selectors.alerts().defer("history")
    serializer_class = StoredAlertSerializer
    filterset_class = AlertFilter


class AlertSummary(AnomalySummary[Alert]):
    queryset = selectors.alerts()
    serializer_class = AlertSummarySerializer
    filterset_class = AlertFilter

    def counts(self, found: QuerySet[Alert], condition: Q) -> dict[str, Any]:
        counted = market.selectors.counts(found, condition, symbols="symbol")
        return {"alerts": counted.pop("total"), **counted}


class AlertDetail(generics.RetrieveAPIView[Alert]):
    """One alert with its review and the chart up to its opening. 404 if no alert has this id."""

    queryset = selectors.alerts().select_related("reviewed_by")
    serializer_class = ReviewedAlertSerializer


class AlertReview(Review[Alert]):
    queryset = AlertDetail.queryset
    serializer_class = ReviewedAlertSerializer
