"""Requests that the database fails: 503 with a sentence and `Retry-After`. And how long a request may ask it.

A database that is away, locked or damaged is no fault of the request. A request that only reads may ask for
`QUERY_TIMEOUT` seconds in all; what it asks then is stopped in the database, which has others to answer.
"""

import logging
import sys
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.db import DataError, IntegrityError, ProgrammingError
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.deprecation import MiddlewareMixin
from django.utils.html import format_html
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from ingestion.stream.health import NOT_MIGRATED, cause
from market import bounds
from market.pages import prefers_html
from market.problems import PROBLEM, accepts_problems, problem
from market.problems import handle as handle_api
from market.problems import server_error as handle_server_error

logger = logging.getLogger(__name__)

_RETRY_S: Final = 5
_READS: Final = ("GET", "HEAD")
_PAGE: Final = (
    '<!doctype html>\n<html lang="en">\n<head>\n<title>{0}</title>\n</head>\n<body>\n<h1>{0}</h1>\n<p>{1}</p>\n'
    "</body>\n</html>\n"
)


class Unavailable(APIException):
    """503 with `Retry-After`."""

    status_code = 503
    default_code = "unavailable"
    wait = _RETRY_S


def refusal(error: BaseException | None) -> Unavailable | None:
    """What to answer if the database failed with this error; None if the request or the software is at fault."""
    if not isinstance(error, DatabaseError) or isinstance(error, DataError | IntegrityError):
        return None
    if bounds.is_stopped(error):
        return Unavailable(
            f"The database had no answer after {settings.QUERY_TIMEOUT_S:g} s and was stopped. "
            "Ask for less: a range of time (from, to), a symbol, or fewer filters."
        )
    reason = cause(error)
    if isinstance(error, ProgrammingError) and reason != NOT_MIGRATED:
        return None
    logger.warning("A request cannot be answered: %s", reason)
    return Unavailable(f"{reason[0].upper()}{reason[1:]}. Try again in {_RETRY_S} s.")


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """The exception handler of REST framework."""
    return handle_api(refusal(error) or error, context)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`."""
    refused = refusal(sys.exception())
    return _answer(request, refused) if refused else handle_server_error(request)


def _answer(request: HttpRequest, refused: Unavailable) -> HttpResponse:
    """Without any look into the database, which a page with a session would need."""
    status, said = refused.status_code, str(refused.detail)
    response: HttpResponse
    if accepts_problems(request):
        response = JsonResponse(problem(status, {"detail": said}), status=status, content_type=PROBLEM)
    elif prefers_html(request):
        response = HttpResponse(format_html(_PAGE, HTTPStatus(status).phrase, said), status=status)
    else:
        response = JsonResponse({"detail": said}, status=status)
    response.headers["Retry-After"] = str(refused.wait)
    return response


class DatabaseMiddleware(MiddlewareMixin):
    """Answers 503 for views that know nothing of REST framework, and bounds what reading requests ask."""

    def process_request(self, request: HttpRequest) -> None:
        if request.method in _READS:
            bounds.start(settings.QUERY_TIMEOUT_S)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        refused = refusal(exception)
        return _answer(request, refused) if refused else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        bounds.end()
        return response
