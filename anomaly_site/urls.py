from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from alerts.views import AlertDetail, AlertList
from anomaly_site import health
from ingestion.history.views import CandleList
from market.views import MarketAnomalyDetail, MarketAnomalyList

if settings.HISTORY_BACKEND == "influx":
    from ingestion.history.anomaly_views import InfluxAlertList, InfluxMarketAnomalyList

    alert_list, market_list = InfluxAlertList.as_view(), InfluxMarketAnomalyList.as_view()
else:
    alert_list, market_list = AlertList.as_view(), MarketAnomalyList.as_view()

admin.site.site_header = admin.site.site_title = "Crypto anomalies"
admin.site.index_title = "Review"

urlpatterns = [
    path("", include("frontend.urls")),
    path("admin/", admin.site.urls),
    path("alerts", alert_list, name="alerts"),
    path("alerts/<str:pk>", AlertDetail.as_view(), name="alert"),
    path("market", market_list, name="market"),
    path("market/<str:pk>", MarketAnomalyDetail.as_view(), name="market-anomaly"),
    path("candles", CandleList.as_view(), name="candles"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    re_path(
        r"^(?P<path>(?:alerts|market)(?:/[^/]+)?|candles|schema|docs|healthz|readyz)/$",
        RedirectView.as_view(url="/%(path)s", query_string=True),
    ),
]
