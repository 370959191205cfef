"""Settings of the analysis over HTTP."""

from django.http import Http404
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.analysis.configured import settings_by_hash
from market.filters import refuse_unknown
from market.negotiation import Negotiation


class SettingsDetail(APIView):
    """The settings of an analysis, by the field `settings` of what it found. They never change."""

    content_negotiation_class = Negotiation

    @extend_schema(
        responses=inline_serializer(
            "AnalysisSettings",
            {
                "hash": serializers.CharField(help_text="What `settings` of an anomaly is: 16 hexadecimal digits."),
                "values": serializers.DictField(help_text="Every setting, defaults included, as in a file of them."),
                "first_used_at": serializers.IntegerField(
                    allow_null=True, help_text="Epoch milliseconds; null: no analysis of this database used them."
                ),
                "last_started_at": serializers.IntegerField(
                    allow_null=True, help_text="When an analysis last started with them, in epoch milliseconds."
                ),
            },
        ),
    )
    def get(self, request: Request, pk: str) -> Response:
        refuse_unknown(request, {"format"})
        found = settings_by_hash(pk)
        if found is None:
            raise Http404
        return Response(found)
