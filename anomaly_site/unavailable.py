"""Requests that the database fails: 503 with a sentence and `Retry-After`. And how long a request may ask it.

A database that is away, locked or damaged is no fault of the request. A request that only reads may ask for
`QUERY_TIMEOUT` seconds in all; what it asks then is stopped in the database, which has others to answer.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError, connection
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.deprecation import MiddlewareMixin
from django.utils.html import format_html
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from ingestion.stream.health import NOT_MIGRATED, cause
from market.pages import prefers_html
from market.problems import PROBLEM, accepts_problems, problem
from market.problems import handle as handle_api
from market.problems import server_error as handle_server_error

logger = logging.getLogger(__name__)

_RETRY_S: Final = 5
_READS: Final = ("GET", "HEAD")
# How often SQLite asks whether to go on, in instructions of its virtual machine: less than a millisecond.
_INSTRUCTIONS: Final = 20_000
# What the drivers say of a query that was stopped.
_STOPPED: Final = ("interrupted", "statement timeout")
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
    if any(word in str(error) for word in _STOPPED):
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
            _Bound.start(settings.QUERY_TIMEOUT_S)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        refused = refusal(exception)
        return _answer(request, refused) if refused else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        _Bound.end()
        return response


class _Bound:
    """Wraps the queries of this thread's connection, until `end`.

    Raises `OperationalError` at the first query after the end of the time, and has the database stop the one that
    runs then.
    """

    def __init__(self, seconds: float) -> None:
        self._milliseconds = round(seconds * 1000)
        self._ends_at = time.monotonic() + seconds
        self._told: Any = None  # the driver's connection that knows

    @classmethod
    def start(cls, seconds: float) -> None:
        cls.end()
        connection.execute_wrappers.append(cls(seconds))

    @staticmethod
    def end() -> None:
        for wrapper in [each for each in connection.execute_wrappers if isinstance(each, _Bound)]:
            connection.execute_wrappers.remove(wrapper)
            with contextlib.suppress(Exception):  # a broken connection has nothing to be told
                wrapper._tell(None)

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._is_over():
            raise OperationalError("interrupted: the time of the request is over")
        if self._told is not context["connection"].connection:
            self._told = context["connection"].connection
            self._tell(self._milliseconds)
        return execute(sql, params, many, context)

    def _tell(self, milliseconds: int | None) -> None:
        """Have the driver's connection stop what lasts longer; None: nothing any more."""
        if self._told is None or self._told is not connection.connection:
            return
        if connection.vendor == "sqlite":
            self._told.set_progress_handler(None if milliseconds is None else self._is_over, _INSTRUCTIONS)
        elif connection.vendor == "postgresql":
            with self._told.cursor() as cursor:
                value = "DEFAULT" if milliseconds is None else milliseconds
                cursor.execute(f"SET statement_timeout = {value}")

    def _is_over(self) -> bool:
        return time.monotonic() > self._ends_at
