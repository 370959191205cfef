"""The history of market anomalies over HTTP, and the list view all anomalies share."""

from typing import TypeVar

from rest_framework import generics

from market import selectors
from market.filters import MarketAnomalyFilter, StrictFilterBackend
from market.models import Anomaly, MarketAnomaly
from market.pagination import StreamPagination
from market.serializers import ReviewedMarketAnomalySerializer, StoredMarketAnomalySerializer

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)


class AnomalyList(generics.ListAPIView[AnomalyT]):
    """Newest first, or with `since` what changed after a stream cursor. All filters must match."""

    filter_backends = [StrictFilterBackend]
    pagination_class = StreamPagination


class MarketAnomalyList(AnomalyList[MarketAnomaly]):
    queryset = selectors.market_anomalies()
    serializer_class = StoredMarketAnomalySerializer
    filterset_class = MarketAnomalyFilter


class MarketAnomalyDetail(generics.RetrieveAPIView[MarketAnomaly]):
    queryset = selectors.market_anomalies().select_related("reviewed_by")
    serializer_class = ReviewedMarketAnomalySerializer
