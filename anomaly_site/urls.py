from django.contrib import admin
from django.urls import include, path, re_path, register_converter
from django.urls.converters import StringConverter
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from alerts.views import AlertDetail, AlertList
from anomaly_site import health
from anomaly_site.ws.asyncapi import asyncapi
from market.views import MarketAnomalyDetail, MarketAnomalyList

admin.site.site_header = admin.site.site_title = "Crypto anomalies"
admin.site.index_title = "Review"


class AnomalyId(StringConverter):
    """Nothing else can be an id (`messages.Identifier`), so nothing else gets as far as the database."""

    regex = r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,79}"


register_converter(AnomalyId, "id")

urlpatterns = [
    path("", include("frontend.urls")),
    path("admin/", admin.site.urls),
    path("alerts", AlertList.as_view(), name="alerts"),
    path("alerts/<id:pk>", AlertDetail.as_view(), name="alert"),
    path("market", MarketAnomalyList.as_view(), name="market"),
    path("market/<id:pk>", MarketAnomalyDetail.as_view(), name="market-anomaly"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("asyncapi.json", asyncapi),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    re_path(
        rf"^(?P<path>(?:alerts|market)(?:/{AnomalyId.regex})?|schema|docs|healthz|readyz)/$",
        RedirectView.as_view(url="/%(path)s", query_string=True),
    ),
]
