"""Stored alerts over HTTP."""

from rest_framework import generics

from alerts import selectors
from alerts.filters import AlertFilter
from alerts.models import Alert
from alerts.serializers import ReviewedAlertSerializer, StoredAlertSerializer
from market.views import AnomalyList, Review


class AlertList(AnomalyList[Alert]):
    queryset = selectors.alerts().defer("history")
    serializer_class = StoredAlertSerializer
    filterset_class = AlertFilter


class AlertDetail(generics.RetrieveAPIView[Alert]):
    """One alert with its review and the chart up to its opening. 404 if no alert has this id."""

    queryset = selectors.alerts().select_related("reviewed_by")
    serializer_class = ReviewedAlertSerializer


class AlertReview(Review[Alert]):
    queryset = AlertDetail.queryset
    serializer_class = ReviewedAlertSerializer
