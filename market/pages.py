"""Pages for people at the addresses of the REST API: HTML if `Accept` prefers it, else the same answer as JSON."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.middleware.csrf import get_token
from django.template import loader
from django.urls import reverse
from django.utils.http import urlencode
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from market.callers import group_scopes
from market.filters import MomentFilter, WordsFilter, read_moment
from market.scopes import Scope

# Nothing inline and nothing from elsewhere.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
# Counting goes no further: it would take longer than reading the page.
MOST_COUNTED: Final = 10_000
# Parameters that choose a page, not rows.
_PLACES: Final = ("before", "after", "since", "limit", "format", "fields")


def prefers_html(request: Any) -> bool:
    """Whether `Accept` prefers a page to JSON. `*/*` and a missing header do not."""
    html, data = (request.accepted_type(kind) for kind in ("text/html", "application/json"))
    return html is not None and (data is None or html.quality > data.quality)


class PageRenderer(BaseRenderer):
    """Renders the template and context that the view gives by `page(data)`; errors in words."""

    media_type = "text/html"
    format = "html"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> str:
        context = renderer_context or {}
        view, request, response = context["view"], context["request"], context["response"]
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        if response.status_code < 400 or (response.status_code == 400 and getattr(view, "shows_errors", False)):
            template, shown = view.page(data)
        else:
            template = "market/pages/error.html"
            detail = data.get("detail", "") if isinstance(data, Mapping) else ""
            shown = {"status": response.status_code, "detail": detail}
        return loader.render_to_string(template, frame(request, view) | shown, request=request)


class PageNegotiation(DefaultContentNegotiation):
    """Chooses `PageRenderer` for those who prefer HTML, and never for others; `?format=` decides over both."""

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> Any:
        renderers = list(renderers)
        if form := request.query_params.get("format") or format_suffix:
            try:
                return super().select_renderer(request, renderers, format_suffix)
            except NotAcceptable:  # REST framework asks `Accept` too
                return next((one, one.media_type) for one in renderers if one.format == form)
        pages = [renderer for renderer in renderers if isinstance(renderer, PageRenderer)]
        if pages and prefers_html(request):
            return pages[0], "text/html"
        # REST framework does not weigh: without `?format=api` the browsable API would be taken for a page.
        data = [renderer for renderer in renderers if renderer.media_type != "text/html"]
        return super().select_renderer(request, data, format_suffix)


class HasPage(APIView):
    """A view that is also a page."""

    renderer_classes = (JSONRenderer, PageRenderer, BrowsableAPIRenderer)
    content_negotiation_class = PageNegotiation


def frame(request: Request, view: Any) -> dict[str, Any]:
    """What every page shows around its content."""
    model = view.queryset.model
    path = request.get_full_path()
    query = request.query_params.copy()
    query.pop("format", None)
    user = request.user
    return {
        "section": "alerts" if model._meta.app_label == "alerts" else "market",
        "signed_in": user.get_username() if user.is_authenticated else "",
        "may_review": may_review(request, model),
        "sign_in": f"{reverse('admin:login')}?{urlencode({'next': path})}",
        "json_url": _with(request, query, "json"),
        "api_url": _with(request, query, "api"),
    }


def _with(request: Request, query: Any, format: str) -> str:
    query = query.copy()
    query["format"] = format
    return f"{request.path}?{query.urlencode()}"


def may_review(request: Any, model: Any) -> bool:
    """Whether the user may review anomalies of this model: as staff with the permission, or as a member of a group."""
    user, meta = request.user, model._meta
    if user.is_staff and user.has_perm(f"{meta.app_label}.change_{meta.model_name}"):
        return True
    return Scope.REVIEW_WRITE in group_scopes(user)


def review_form(request: Request, model: Any, url: str) -> dict[str, str] | None:
    """Address and CSRF token of the review form of a page, for those who may review; the browser gets the cookie."""
    return {"url": url, "token": get_token(request._request)} if may_review(request, model) else None


# --- Lists -----------------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    value: str
    label: str
    chosen: bool


class FieldOfForm(NamedTuple):
    """One filter as a group of check boxes, or as an input if `choices` is empty; `known` are suggestions for it."""

    name: str
    label: str
    value: str
    choices: list[Choice]
    error: str
    known: Sequence[str]


class Chip(NamedTuple):
    """A filter that is set, and the address without it. `at`: the value as a time, if it is one."""

    label: str
    value: str
    url: str
    at: datetime | None = None


def label_of(word: str) -> str:
    """`FALSE_POSITIVE` → `False positive`, `Z_SCORE` → `Z score`, `EWMA` as it is."""
    short = {"MAD", "EWMA", "CUSUM"}
    return word if word in short else word.replace("_", " ").capitalize()


def fields(
    request: Request,
    filters: Mapping[str, Any],
    shown: Mapping[str, str],
    errors: Mapping[str, str],
    known: Mapping[str, Sequence[str]],
) -> list[FieldOfForm]:
    """The filters `shown` (name → label) as form fields, with what was asked for and what is wrong with it."""
    found = []
    for name, label in shown.items():
        rule = filters[name]
        words = _given(request, name, rule)
        allowed = rule.extra.get("allowed", ()) if isinstance(rule, WordsFilter) else ()
        chosen = {word.upper() for word in words}
        choices = [Choice(str(word), label_of(str(word)), str(word).upper() in chosen) for word in allowed]
        found.append(FieldOfForm(name, label, ", ".join(words), choices, errors.get(name, ""), known.get(name, ())))
    return found


def chips(request: Request, filters: Mapping[str, Any]) -> list[Chip]:
    """What hides rows: one chip per parameter that is set."""
    found = []
    plural = {extra: name for name, rule in filters.items() for extra in getattr(rule, "names", ())}
    for name in sorted({plural.get(name, name) for name in request.query_params} - set(_PLACES)):
        aliases = [name, *(extra for extra, of in plural.items() if of == name)]
        words = [word for alias in aliases for word in request.query_params.getlist(alias) if word]
        if words:
            query = request.query_params.copy()
            for alias in (*aliases, "before", "after", "since", "format"):
                query.pop(alias, None)
            url = f"{request.path}?{query.urlencode()}" if query else request.path
            value = ", ".join(words).replace(",", ", ").replace(",  ", ", ")
            found.append(Chip(label_of(name), value, url, _moment_of(filters.get(name), words)))
    return found


def _moment_of(rule: Any, words: Sequence[str]) -> datetime | None:
    if not isinstance(rule, MomentFilter):
        return None
    with contextlib.suppress(ValueError):
        return read_moment(words[-1])
    return None


def hidden(request: Request, shown: Mapping[str, str], filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The filters that are set and that the form does not show: it keeps them. What is unknown is dropped."""
    kept = {alias for name in filters if name not in shown for alias in (name, *getattr(filters[name], "names", ()))}
    known = {*kept, "limit"}
    return [(name, value) for name, values in request.query_params.lists() if name in known for value in values]


def errors_of(data: Any) -> dict[str, str]:
    """A 400's answer: parameter → sentence."""
    if not isinstance(data, Mapping):
        return {"detail": str(data)}
    return {
        str(name): " ".join(map(str, text)) if isinstance(text, list | tuple) else str(text)
        for name, text in data.items()
    }


def _given(request: Request, name: str, rule: Any) -> list[str]:
    texts = [text for alias in (name, *getattr(rule, "names", ())) for text in request.query_params.getlist(alias)]
    if not isinstance(rule, WordsFilter):
        return [text for text in texts if text]
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def list_page(
    view: Any,
    data: Any,
    shown: Mapping[str, str],
    row: Callable[[dict[str, Any]], dict[str, Any]],
    known: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The context of a history page: form, chips, rows, counts and the links to other pages.

    `shown`: the filters of the form (name → label). `known`: suggestions for inputs.
    """
    request: Request = view.request
    filters = view.filterset_class.base_filters
    failed = not (isinstance(data, Mapping) and "results" in data)
    errors = errors_of(data) if failed else {}
    form = fields(request, filters, shown, errors, known or {})
    rows = [] if failed else [row(item) for item in data["results"]]
    count = None if failed else view.count()
    return {
        "form": form,
        "hidden": hidden(request, shown, filters),
        "chips": chips(request, filters),
        "errors": {name: text for name, text in errors.items() if name not in shown},
        "failed": failed,
        "rows": rows,
        "count": count,
        "counted_all": count is not None and count <= MOST_COUNTED,
        "most_counted": MOST_COUNTED,
        "more_set": any(field.error or field.value for field in form if field.choices),
        "next": None if failed else data["next"],
        "previous": None if failed else data["previous"],
        "path": request.path,
        "summary": None if failed else view.overview(),
    }
