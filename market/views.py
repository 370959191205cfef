"""The history of market anomalies over HTTP, and the list view all anomalies share."""

from typing import TypeVar

from rest_framework import generics
from rest_framework.pagination import LimitOffsetPagination

from market import selectors
from market.filters import MarketAnomalyFilter, StressFilter, StrictFilterBackend
from market.models import Anomaly, MarketAnomaly, StressSample
from market.pagination import StreamPagination
from market.serializers import ReviewedMarketAnomalySerializer, StoredMarketAnomalySerializer, StressSerializer

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


class _StressPages(LimitOffsetPagination):
    default_limit = 60
    max_limit = 1440


class StressHistory(generics.ListAPIView[StressSample]):
    """The stress index by the minute, newest first. Live it comes once a second, on `/ws` as `stress` frames."""

    queryset = selectors.stress_samples()
    serializer_class = StressSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = StressFilter
    pagination_class = _StressPages
