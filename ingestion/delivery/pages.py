"""The page behind the link in a message: it shows the message, and acknowledges by POST alone.

Previews of links and scanners of mail fetch addresses, so GET changes nothing. The link is the permission: there is no
login, and no CSRF token, which would need a cookie.
"""

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from ingestion.delivery import acknowledge
from ingestion.delivery.acknowledge import CannotAcknowledge
from ingestion.models import Outgoing
from market.pages import CONTENT_SECURITY_POLICY, prefers_html
from market.templatetags.anomalies import grouped
from market.wire.times import epoch_ms

_HOW = "by the link in a message"


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def acknowledge_page(request: HttpRequest, token: str) -> HttpResponse:
    """HTML, or JSON with `detail` for those who do not prefer HTML."""
    try:
        row = acknowledge.by_token(token)
        shown = _asked(row) if request.method != "POST" else _shown(row, acknowledge.acknowledge(row, _HOW, request))
        status = 200
    except CannotAcknowledge as error:
        shown, status = {"title": "Not acknowledged", "said": str(error)}, 409 if request.method == "POST" else 404
    if not prefers_html(request):
        said = shown.get("said") or "Not acknowledged yet: send POST to this address."
        return JsonResponse({"title": shown["title"], "detail": said}, status=status)
    answer = HttpResponse(render_to_string("ingestion/acknowledge.html", shown), status=status)
    answer.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def _asked(row: Outgoing) -> dict[str, Any]:
    content = msgspec.json.decode(row.content)
    ids, owner = content.get("anomalies", []), acknowledge.owner_of(row.route, content)
    said = acknowledge.reviewed(ids, epoch_ms(timezone.now())) or acknowledge.refusal(owner)
    count = "The anomaly is" if len(ids) == 1 else f"{grouped(len(ids))} anomalies are"
    return _shown(row, said) | {"asks": not said, "count": f"{count} reviewed", "reviewer": owner}


def _shown(row: Outgoing, said: object) -> dict[str, Any]:
    text = msgspec.json.decode(row.content)["text"]
    return {"title": text["title"], "body": text["body"], "path": text.get("path", ""), "said": str(said)}
