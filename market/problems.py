"""Problem details (RFC 9457) for clients whose `Accept` names them; all others get the bodies that they always got."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler

PROBLEM: Final = "application/problem+json"
_ANOMALIES: Final = ("/alerts/", "/market/")


def accepts_problems(request: HttpRequest | Request) -> bool:
    """Whether `Accept` names problem details; `*/*` and `application/*` do not."""
    accepted: Any = request.accepted_types
    return any(f"{kind.main_type}/{kind.sub_type}" == PROBLEM and kind.quality > 0 for kind in accepted)


def problem(status: int, data: Any) -> dict[str, Any]:
    """The problem details of an answer with this status and body: its sentences, by field under `errors`."""
    found: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    fields = data if isinstance(data, Mapping) else {"detail": data}
    errors = {str(name): _sentences(said) for name, said in fields.items()}
    detail = " ".join(sentence for said in errors.values() for sentence in said)
    errors.pop("detail", None)
    return found | ({"detail": detail} if detail else {}) | ({"errors": errors} if errors else {})


def _sentences(said: Any) -> list[str]:
    return [str(each) for each in said] if isinstance(said, list | tuple) else [str(said)]


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """The exception handler of REST framework."""
    response = exception_handler(error, context)
    request: Request = context["request"]
    renderer = getattr(request, "accepted_renderer", None)
    if response is None or not accepts_problems(request) or getattr(renderer, "media_type", "") == "text/html":
        return response
    response.data = problem(response.status_code, response.data)
    response.content_type = PROBLEM
    return response


class ShallowJSONParser(JSONParser):
    """A body that is nested deeper than Python reads is refused like any other that is not JSON."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError as error:
            raise ParseError("JSON parse error - it is nested too deep") from error


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler404`."""
    said = f"There is nothing at {request.path}. The addresses are in /schema."
    if accepts_problems(request):
        return _answer(404, said)
    # What is no identifier is answered like one that nothing has.
    if request.path.startswith(_ANOMALIES) and not any(kind.sub_type == "html" for kind in request.accepted_types):
        return JsonResponse({"detail": said}, status=404)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`."""
    if not accepts_problems(request):
        return defaults.server_error(request)
    return _answer(500, "The server failed to answer. Its log has the cause.")


def _answer(status: int, detail: str) -> JsonResponse:
    return JsonResponse(problem(status, {"detail": detail}), status=status, content_type=PROBLEM)
