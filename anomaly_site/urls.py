from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path, register_converter
from django.urls.converters import StringConverter
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from alerts.views import AlertDetail, AlertList, AlertReview, AlertSummary
from anomaly_site import health
from anomaly_site.access.table import REDIRECT
from anomaly_site.feeds import running_clock
from anomaly_site.metrics import metrics
from anomaly_site.publishing import PublishAlerts, PublishAlertsByAddress, PublishMarket, PublishMarketByAddress
from anomaly_site.schema_view import SchemaView
from anomaly_site.status import status_json, status_page
from anomaly_site.ws.asyncapi import asyncapi
from ingestion.analysis.views import SettingsDetail
from ingestion.delivery.pages import acknowledge_page
from ingestion.delivery.picture_views import Picture
from ingestion.delivery.push_views import Push, PushBrowser, notifications, service_worker
from ingestion.delivery.views import (
    ChannelDetail,
    ChannelList,
    ChannelSecret,
    ChannelTest,
    NewRoutePreview,
    RouteDetail,
    RouteList,
    RoutePreview,
    RouteTest,
)
from ingestion.timeseries.closes import closes
from ingestion.timeseries.views import CandleList
from market.views import (
    MarketAnomalyDetail,
    MarketAnomalyList,
    MarketAnomalyReview,
    MarketSummary,
    SectorList,
    StressHistory,
    SymbolList,
)

if settings.HISTORY_BACKEND == "influx":
    from ingestion.timeseries.anomaly_views import InfluxAlertList, InfluxMarketAnomalyList

    alert_list, market_list = (
        InfluxAlertList.as_view(clock=running_clock),
        InfluxMarketAnomalyList.as_view(clock=running_clock),
    )
else:
    alert_list, market_list = AlertList.as_view(clock=running_clock), MarketAnomalyList.as_view(clock=running_clock)

admin.site.site_header = admin.site.site_title = "Crypto anomalies"
admin.site.index_title = "Review"
admin.site.index_template = "anomaly_site/admin_index.html"


class AnomalyId(StringConverter):
    """Matches what `messages.Identifier` allows, so that no other id reaches the database."""

    regex = r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,79}"


class SettingsHash(StringConverter):
    regex = r"[0-9a-f]{16}"


register_converter(AnomalyId, "id")
register_converter(SettingsHash, "settings")

handler404 = "market.problems.not_found"
handler500 = "anomaly_site.unavailable.server_error"

urlpatterns = [
    path("", include("frontend.urls")),
    path("admin/status/", admin.site.admin_view(status_page), name="admin-status"),
    path("admin/", admin.site.urls),
    *([path("accounts/", include("anomaly_site.people.urls"))] if apps.is_installed("allauth") else []),
    path("alerts", alert_list, name="alerts"),
    path("alerts/summary", AlertSummary.as_view(), name="alert-summary"),
    path("alerts/<id:pk>", AlertDetail.as_view(closes=closes, clock=running_clock), name="alert"),
    path("alerts/<id:pk>/review", AlertReview.as_view(), name="alert-review"),
    path("alerts/<id:pk>/picture.png", Picture.as_view(), name="alert-picture"),
    path("market", market_list, name="market"),
    path("market/stress", StressHistory.as_view(), name="stress"),
    path("market/summary", MarketSummary.as_view(), name="market-summary"),
    path("market/<id:pk>", MarketAnomalyDetail.as_view(closes=closes, clock=running_clock), name="market-anomaly"),
    path("market/<id:pk>/review", MarketAnomalyReview.as_view(), name="market-anomaly-review"),
    path("market/<id:pk>/picture.png", Picture.as_view(kind="market"), name="market-picture"),
    path("sectors", SectorList.as_view(), name="sectors"),
    path("symbols", SymbolList.as_view(), name="symbols"),
    path("settings/<settings:pk>", SettingsDetail.as_view(), name="settings"),
    path("candles", CandleList.as_view(), name="candles"),
    path("routes", RouteList.as_view(), name="routes"),
    path("routes/preview", NewRoutePreview.as_view(), name="new-route-preview"),
    path("routes/<int:pk>", RouteDetail.as_view(), name="route"),
    path("routes/<int:pk>/preview", RoutePreview.as_view(), name="route-preview"),
    path("routes/<int:pk>/test", RouteTest.as_view(), name="route-test"),
    path("channels", ChannelList.as_view(), name="channels"),
    path("channels/<int:pk>", ChannelDetail.as_view(), name="channel"),
    path("channels/<int:pk>/test", ChannelTest.as_view(), name="channel-test"),
    path("channels/<int:pk>/secret", ChannelSecret.as_view(), name="channel-secret"),
    path("push", Push.as_view(), name="push"),
    path("push/<int:pk>", PushBrowser.as_view(), name="push-browser"),
    path("notifications", notifications, name="notifications"),
    path("service-worker.js", service_worker, name="service-worker"),
    path("publish/alerts", PublishAlerts.as_view(), name="publish-alerts"),
    path("publish/alerts/<str:secret>", PublishAlertsByAddress.as_view(), name="publish-alerts-secret"),
    path("publish/market", PublishMarket.as_view(), name="publish-market"),
    path("publish/market/<str:secret>", PublishMarketByAddress.as_view(), name="publish-market-secret"),
    path("acknowledge/<str:token>", acknowledge_page, name="acknowledge"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema", metadata_class=None), name="docs"),
    path("asyncapi.json", asyncapi),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("status", status_json, name="status"),
    path("metrics", metrics),
    re_path(
        rf"^(?P<path>(?:alerts|market)(?:/{AnomalyId.regex})?|settings/[0-9a-f]{{16}}|routes|channels|push|notifications|sectors|symbols|candles|schema|docs|healthz|readyz|status|metrics)/$",
        RedirectView.as_view(url="/%(path)s", query_string=True),
        name=REDIRECT,
    ),
]
