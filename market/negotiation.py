"""Which form of an answer a client gets: JSON, a page, or a file of many rows."""

from collections.abc import Iterable
from typing import Any, Final

from django.http import Http404
from rest_framework.exceptions import NotAcceptable, ValidationError
from rest_framework.request import Request

from market.pages import PageNegotiation
from market.problems import accepts_problems

_JSON: Final = "application/json"


class Negotiation(PageNegotiation):
    """As `PageNegotiation`; a form of an export is chosen if `Accept` prefers it to JSON and to pages.

    A client that accepts nothing but problem details gets them of a failure, and JSON otherwise.
    """

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> Any:
        renderers = list(renderers)
        if not (request.query_params.get("format") or format_suffix):
            by_type = {kind: one for one in renderers for kind in getattr(one, "media_types", ())}
            # Pages only beat exports here; whether they beat JSON is decided above this class.
            preferred = request.get_preferred_type([_JSON, *by_type, "text/html"])
            if preferred in by_type:
                return by_type[preferred], preferred
            renderers = [one for one in renderers if one not in by_type.values()]
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except Http404:
            known = sorted({one.format for one in renderers})
            said = f"{request.query_params.get('format')} is unknown; expected one of {', '.join(known)}."
            raise ValidationError({"format": [said]}) from None
        except NotAcceptable:
            if accepts_problems(request):
                return next((one, _JSON) for one in renderers if one.media_type == _JSON)
            raise
