"""Answers to callers without permission: JSON, problem details, or a page with a link to sign in."""

import math
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from anomaly_site.access.tokens import Grant
from market.pages import prefers_html
from market.problems import PROBLEM, accepts_problems, problem
from market.scopes import MEANINGS, Scope

_PAGE: Final = (
    '<!doctype html>\n<html lang="en">\n<head>\n<title>{0}</title>\n</head>\n<body>\n<h1>{0}</h1>\n<p>{1}</p>\n{2}'
    "</body>\n</html>\n"
)
_SHOW: Final = "send a token (Authorization: Bearer …)"


def missing(request: HttpRequest, scope: Scope) -> HttpResponse:
    """Nobody in particular asks for what only some may do."""
    how = _SHOW if scope is Scope.PUBLISH else f"sign in, or {_SHOW}"
    return _answer(request, 401, f"To {MEANINGS[scope]}, {how}.", {"WWW-Authenticate": "Bearer"})


def unknown(request: HttpRequest, reason: str) -> HttpResponse:
    """A token was shown that is not valid."""
    return _answer(request, 401, reason, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def forbidden(request: HttpRequest, scope: Scope, token: Grant | None = None) -> HttpResponse:
    who = f"The token “{token.name}”" if token else "Your account"
    return _answer(request, 403, f"{who} may not {MEANINGS[scope]}: it lacks {scope}.")


def too_many(request: HttpRequest, wait_s: float) -> HttpResponse:
    wait = max(1, math.ceil(wait_s))
    return _answer(request, 429, f"Too many requests. Try again in {wait} s.", {"Retry-After": str(wait)})


def _answer(request: HttpRequest, status: int, said: str, headers: dict[str, str] | None = None) -> HttpResponse:
    response: HttpResponse
    if accepts_problems(request):
        response = JsonResponse(problem(status, {"detail": said}), status=status, content_type=PROBLEM)
    elif prefers_html(request):
        response = HttpResponse(format_html(_PAGE, HTTPStatus(status).phrase, said, _sign_in(request)), status=status)
    else:
        response = JsonResponse({"detail": said}, status=status)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def _sign_in(request: Any) -> str:
    if request.user.is_authenticated:
        return ""
    for name in ("account_login", "admin:login"):
        with suppress(NoReverseMatch):  # a site without accounts, or without the admin
            address = reverse(name)
            break
    else:
        return ""
    here = urlencode({"next": request.get_full_path()})
    return format_html('<p><a href="{}?{}">Sign in</a></p>\n', address, here)
