"""`/alerts/<id>/picture.png` and `/market/<id>/picture.png`: the chart of the page, for notifications of browsers."""

from concurrent.futures import BrokenExecutor
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import APIException, NotFound
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from ingestion.delivery.pictures import DRAWER, WAIT_S, TooBusy, svg_of


class NotNow(APIException):
    status_code = 503
    default_code = "unavailable"
    default_detail = "The picture cannot be drawn now. Try again in a few seconds."
    wait = 5


@extend_schema(exclude=True)
class Picture(APIView):
    """PNG. 404 if there is no such anomaly, or no chart of it."""

    authentication_classes = ()
    permission_classes = [AllowAny]  # the table of routes has decided
    renderer_classes = [JSONRenderer]
    kind = "alerts"

    def get(self, request: Request, pk: str) -> Any:
        svg = svg_of(f"/{self.kind}/{pk}")
        if not svg:
            raise NotFound("There is no such anomaly, or no closes of that time are stored.")
        try:
            data = DRAWER.draw(svg).result(4 * WAIT_S)
        except (TooBusy, TimeoutError, BrokenExecutor, ValueError, OSError):
            raise NotNow from None
        return HttpResponse(data, content_type="image/png", headers={"Cache-Control": "private, max-age=60"})
