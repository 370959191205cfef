"""Stored market anomalies, the stress index and sectors over HTTP, and the base views of all anomalies."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.metadata import SimpleMetadata
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from market import selectors, services, walks
from market.aftermath import ReadCourse
from market.callers import TokenAuthentication
from market.clock import DataClock, now_ms
from market.detail_page import market_page, market_row
from market.export_views import FORMAT, HasExport
from market.exports import EXPORTS, AnomalyChunk, Chunk, Export
from market.filters import TIME, MarketAnomalyFilter, StressFilter, StrictFilterBackend, read_moment, refuse_unknown
from market.models import Anomaly, MarketAnomaly, ReviewState, StressSample
from market.negotiation import Negotiation
from market.pages import MOST_COUNTED, HasPage, PageRenderer, list_page, may_review
from market.pagination import StreamPagination
from market.places import TakesPlace
from market.serializers import (
    AnomalySerializer,
    MarketSummarySerializer,
    ReviewedMarketAnomalySerializer,
    ReviewSerializer,
    SectorsSerializer,
    StoredMarketAnomalySerializer,
    StressSerializer,
    SymbolsSerializer,
)
from market.wire.aliases import parse_aliased
from market.wire.symbols import InvalidSymbol
from market.wire.times import epoch_ms, moment
from market.writes import named, wrote

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)
# Of the software: another one may render the same rows differently.
_VERSION: Final = settings.SPECTACULAR_SETTINGS["VERSION"]
# The clock of the running feeds; None if none has reported.
ReadClock = Callable[[int], DataClock | None]
_MOST_AHEAD_MS: Final = 3_600_000


def data_clock(model: type[Anomaly], running: ReadClock | None) -> DataClock:
    """The clock of the feeds that run; without any, that of the rows stored last.

    A fast replay reports its time once a second, and a row may be minutes ahead of that: then the row's time is it.
    """
    now = now_ms()
    clock = running(now) if running else None
    if clock is not None and not clock.of:
        return clock
    stored = selectors.data_clock(model, now)
    return stored if clock is None or (stored.of and 0 < stored.at - clock.at < _MOST_AHEAD_MS) else clock


def described(serializer: type[AnomalySerializer[Any]]) -> Callable[[type[APIView]], type[APIView]]:
    """Describes the parameters of a list of such items in the schema."""
    names = "|".join(serializer.names())
    fields = OpenApiParameter(
        "fields",
        {"type": "string", "pattern": f"^(?:(?:{names})(?:,|$))*$"},
        description="Only these fields of each item: names separated by commas, or repeated. `id` is always included. "
        "An item then lacks the others, although the schema requires them.",
    )
    return extend_schema_view(get=extend_schema(parameters=[fields, FORMAT]))


class _Api(HasPage):
    content_negotiation_class = Negotiation


class AnomalyList(_Api, TakesPlace, HasExport, generics.ListAPIView[AnomalyT]):
    """Stored anomalies, newest first; with `since`, those changed after a stream cursor. All filters must match.

    `clock` is the feeds' clock, for the page.
    """

    clock: ReadClock | None = None

    renderer_classes = (*HasPage.renderer_classes, *EXPORTS)  # type: ignore[assignment]
    filter_backends = [StrictFilterBackend]
    pagination_class = StreamPagination
    parameters = frozenset({"fields"})
    # Of the page: a refused filter is shown at its field.
    shows_errors = True
    # Name of a count → column whose different values it counts.
    distinct: ClassVar[Mapping[str, str]] = {}

    def paginate_queryset(self, queryset: Any) -> Any:
        self.found = queryset
        return super().paginate_queryset(queryset)

    def list(self, request: Request, *args: Any, **options: Any) -> HttpResponseBase:  # type: ignore[override]
        if (file := self.export(request)) is not None:
            return file
        found = self.filter_queryset(self.get_queryset())
        rows = self.paginate_queryset(found)
        if isinstance(request.accepted_renderer, PageRenderer):
            return self.get_paginated_response(self.get_serializer(rows, many=True).data)
        # A client that has these rows gets them neither rendered nor sent again.
        tag = self._tag(rows or ())
        known = get_conditional_response(request._request, etag=tag)
        response = known or self.get_paginated_response(self.get_serializer(rows, many=True).data)
        response.headers["ETag"] = tag
        return response

    def file_name(self, request: Request) -> str:
        return str(self.get_queryset().model._meta.label_lower.replace(".", "-"))

    def file_headers(self) -> dict[str, str]:
        """What changes after this place comes by `since`."""
        cursor = selectors.stream_head()
        return {"Stream-Cursor": f"{cursor[0]}:{cursor[1]}"} if cursor else {}

    def chunks(self, request: Request, form: type[Export]) -> Iterator[Chunk]:
        """Newest first, as in the list, but all of them; at most `limit` if that is given."""
        given = request.query_params
        if places := [name for name in ("before", "after", "since") if given.get(name)]:
            raise ValidationError({places[0]: "An export has no pages: leave this out, or use format=json."})
        if settings.HISTORY_BACKEND != "orm":
            raise ValidationError(
                {"format": "Exports need HISTORY_BACKEND=orm; this server answers from InfluxDB. Use format=json."}
            )
        left = _most_rows(given.get("limit", ""))
        serializer = cast(type[AnomalySerializer[Any]], self.get_serializer_class())
        wanted = self._fields()
        columns = {name: kind for name, kind in serializer.columns().items() if not wanted or name in wanted}
        if form.tabular and (nested := sorted(wanted - columns.keys())):
            known = ", ".join(serializer.columns())
            raise ValidationError(
                {"fields": [f"{nested[0]} is not a column of {form.format}; expected some of {known}."]}
            )
        for rows in selectors.every(self.filter_queryset(self.get_queryset()), form.size, left):
            yield AnomalyChunk(rows, columns, wanted)

    def _tag(self, rows: Iterable[Anomaly]) -> str:
        """The entity tag of a page of these rows: of all that its body is made of."""
        pages = cast(StreamPagination, self.paginator)
        state = (_VERSION, self.request.accepted_media_type, pages.url, pages.cursor, pages.recovered, pages.next)
        content = hashlib.blake2b(repr((*state, pages.previous)).encode(), digest_size=16)
        for row in rows:
            content.update(f"{row.offset}{row.review_state}{row.payload}".encode())
        return f'"{content.hexdigest()}"'

    def page(self, data: Any) -> tuple[str, dict[str, Any]]:
        """Template and context of the history page."""
        raise NotImplementedError

    def count(self) -> int | None:
        """The number of rows of all pages, at most one above `MOST_COUNTED`; None if the database has not got them."""
        if not isinstance(self.found, QuerySet):
            return None
        return walks.count(self.found, MOST_COUNTED)

    def overview(self) -> dict[str, Any]:
        """What is open now and the last 24 hours, with the filters of the page."""
        found = self.get_queryset()
        filtered = StrictFilterBackend().filter_queryset(self.request, selectors.Conditions(found.model), self)
        condition = cast(selectors.Conditions[AnomalyT], filtered).condition
        open_now = selectors.counts(selectors.is_open(found), condition, **self.distinct)
        severities = [(name, count) for name, count in reversed(open_now["severities"].items()) if count]
        clock = data_clock(found.model, self.clock)
        day = selectors.day_counts(found, moment(clock.at), condition, **self.distinct)
        return {"open": open_now | {"severities": severities}, "day": day, "clock": clock}

    def get_serializer_context(self) -> dict[str, Any]:
        wanted = self._fields()
        whole = isinstance(self.request.accepted_renderer, PageRenderer)
        return {**super().get_serializer_context(), "fields": set() if whole else wanted}

    def _fields(self) -> set[str]:
        """The wanted fields; empty: all. Raises `ValidationError`."""
        given = {name.strip() for text in self.request.query_params.getlist("fields") for name in text.split(",")}
        wanted = given - {""}
        known = cast(type[AnomalySerializer[Any]], self.get_serializer_class()).names()
        if unknown := sorted(wanted - set(known)):
            raise ValidationError(
                {"fields": [f"{unknown[0]} is not a field of an item; expected some of {', '.join(known)}."]}
            )
        return wanted | {"id"} if wanted else wanted


def _most_rows(text: str) -> int | None:
    """The `limit` of an export; None: no limit. Raises `ValidationError`."""
    if not text:
        return None
    if text.isascii() and text.isdigit() and (number := int(text[:12])) > 0:
        return number
    raise ValidationError({"limit": f"{text} is not a number of rows; expected a whole number from 1."})


_AS_OF = OpenApiParameter(
    "as_of",
    {"type": "string", "pattern": TIME},
    description="End of the 24 hours: epoch milliseconds or an ISO 8601 time (UTC if it names no zone). Default: now.",
)


class AnomalySummary(TakesPlace, generics.GenericAPIView[AnomalyT]):
    """Counts of what is open now and of the last 24 hours, by severity. Takes the filters of the list."""

    content_negotiation_class = Negotiation

    filter_backends = [StrictFilterBackend]
    pagination_class = None
    parameters = frozenset({"as_of"})
    # Name of the number of rows, and of other counts: name → column whose different values it counts.
    noun: ClassVar[str]
    distinct: ClassVar[Mapping[str, str]] = {}

    @extend_schema(parameters=[_AS_OF])
    def get(self, request: Request) -> Response:
        now = now_ms()
        try:
            end = read_moment(request.query_params.get("as_of") or str(now))
        except ValueError as error:
            raise ValidationError({"as_of": [str(error)]}) from None
        found = self.get_queryset()
        filtered = self.filter_queryset(selectors.Conditions(found.model))
        condition = cast(selectors.Conditions[AnomalyT], filtered).condition
        return Response(
            {
                "timestamp": now,
                "as_of": epoch_ms(end),
                "open": self._named(selectors.counts(selectors.is_open(found), condition, **self.distinct)),
                "last_24h": self._named(selectors.day_counts(found, end, condition, **self.distinct)),
            }
        )

    def _named(self, counted: dict[str, Any]) -> dict[str, Any]:
        return {self.noun: counted.pop("total"), **counted}


class _MayReview(BasePermission):
    """Staff with the permission to change this model, as in the admin."""

    message = "Reviewing needs a staff account with the change permission: sign in at /admin/ first."

    def has_permission(self, request: Request, view: Any) -> bool:
        return may_review(request, view.queryset.model)


class _ReviewMetadata(SimpleMetadata):
    """What `OPTIONS` says: the fields of a review. The answers of a review are made by no serializer with fields."""

    def determine_actions(self, request: Request, view: Any) -> dict[str, Any]:
        return {"POST": self.get_serializer_info(ReviewSerializer())}


class _SeeOther(HttpResponseRedirect):
    status_code = 303


class AnomalyDetail(_Api, generics.RetrieveAPIView[AnomalyT]):
    """One anomaly. `closes` reads stored candles for the page; without it the page says that there are none.

    `clock` is the feeds' clock, for the page.
    """

    closes: ReadCourse | None = None
    clock: ReadClock | None = None

    def get_object(self) -> AnomalyT:
        self.anomaly = super().get_object()
        return self.anomaly

    def now(self) -> int:
        """The time (epoch ms) as of which the page says what came next: of a replayed anomaly the replay's."""
        wall = now_ms()
        if not selectors.is_of_its_own_time(self.anomaly):
            return wall
        at = data_clock(type(self.anomaly), self.clock).at
        # Of a replay that started over, the candles of the time before are still there.
        return at if at >= epoch_ms(self.anomaly.timestamp) else wall

    def page(self, data: Any) -> tuple[str, dict[str, Any]]:
        """Template and context of the page."""
        raise NotImplementedError


class Review(_Api, generics.GenericAPIView[AnomalyT]):
    """Set the review of an anomaly. Repeating a review changes nothing: the first reviewer and time stay.

    For pages of our own origin it needs the session of a person and its CSRF token; programs send a token with
    `review:write`, and review in the name of its user. No other credentials are accepted, because a browser would also
    send them with a form of another site. A form of a page leads back to it.
    """

    # Name of the anomaly's own address.
    detail: ClassVar[str]

    authentication_classes = [TokenAuthentication, SessionAuthentication]
    permission_classes = [_MayReview]
    metadata_class = _ReviewMetadata

    @extend_schema(request=ReviewSerializer)
    def post(self, request: Request, pk: str) -> HttpResponseBase:
        said = ReviewSerializer(data=request.data)
        said.is_valid(raise_exception=True)
        anomaly = self.get_object()
        state, note = ReviewState(said.validated_data["review_state"]), said.validated_data.get("review_note")
        with transaction.atomic():
            reviewer = cast(User, request.user)
            if services.review_one(type(anomaly), anomaly.pk, state, reviewer=reviewer, at=timezone.now(), note=note):
                detail = {} if note is None else {"review_note": note}
                wrote(request, "review", [named(anomaly)], review_state=state, **detail)
        if isinstance(request.accepted_renderer, PageRenderer):
            return _SeeOther(f"{reverse(self.detail, args=[anomaly.pk])}#review")
        return Response(self.get_serializer(self.get_object()).data)


_MARKET_FORM: Final = {
    "sector": "Sector",
    "venue": "Venue",
    "from": "From",
    "to": "To",
    "severity": "Severity",
    "type": "Type",
    "state": "State",
    "review_state": "Review",
    "source": "Source of prices",
}


@described(StoredMarketAnomalySerializer)
class MarketAnomalyList(AnomalyList[MarketAnomaly]):
    queryset = selectors.market_anomalies()
    serializer_class = StoredMarketAnomalySerializer
    filterset_class = MarketAnomalyFilter

    def page(self, data: Any) -> tuple[str, dict[str, Any]]:
        words = {"title": "Market anomalies", "noun": "market anomaly", "nouns": "market anomalies"}
        known = {"sector": sorted({name for names in selectors.sector_map().sectors.values() for name in names})}
        return "market/pages/list.html", words | list_page(self, data, _MARKET_FORM, market_row, known)


class MarketSummary(AnomalySummary[MarketAnomaly]):
    queryset = selectors.market_anomalies()
    serializer_class = MarketSummarySerializer
    filterset_class = MarketAnomalyFilter
    noun = "anomalies"


class MarketAnomalyDetail(AnomalyDetail[MarketAnomaly]):
    """One market anomaly with its review. 404 if none has this id."""

    queryset = selectors.market_anomalies().select_related("reviewed_by")
    serializer_class = ReviewedMarketAnomalySerializer

    def page(self, data: Any) -> tuple[str, dict[str, Any]]:
        return "market/page.html", market_page(self.anomaly, self.request, self.closes, self.now())


class MarketAnomalyReview(Review[MarketAnomaly]):
    detail = "market-anomaly"
    queryset = MarketAnomalyDetail.queryset
    serializer_class = ReviewedMarketAnomalySerializer


def _whole(request: Request, name: str, default: int, least: int) -> int:
    """A number that was given; the default without one. Raises `ValidationError`."""
    text = request.query_params.get(name) or str(default)
    if text.isascii() and text.isdigit() and (number := int(text[:9])) >= least:
        return number
    raise ValidationError({name: [f"{text} is not a number of samples; expected a whole number from {least}."]})


class _StressPages(LimitOffsetPagination):
    default_limit = 60
    max_limit = 1440

    def get_limit(self, request: Request) -> int:
        """At most `max_limit`. Raises `ValidationError`."""
        return min(self.max_limit, _whole(request, "limit", self.default_limit, least=1))

    def get_offset(self, request: Request) -> int:
        """The number of samples to leave out. Raises `ValidationError`."""
        return _whole(request, "offset", 0, least=0)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        found = super().get_schema_operation_parameters(view)
        for parameter, least in zip(found, (1, 0), strict=True):
            parameter["schema"]["minimum"] = least
        return found

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["count", "next", "previous", "results"],
            "properties": {
                "count": {"type": "integer", "description": "Number of samples of all pages."},
                "next": link | {"description": "Address of the older samples; null: none."},
                "previous": link | {"description": "Address of the newer samples; null: none."},
                "results": schema | {"description": "One sample a minute, the newest first."},
            },
        }


class StressHistory(TakesPlace, generics.ListAPIView[StressSample]):
    """The stress index, one sample a minute, newest first. `/ws` sends it every second in `stress` frames."""

    content_negotiation_class = Negotiation

    queryset = selectors.stress_samples()
    serializer_class = StressSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = StressFilter
    pagination_class = _StressPages


# --- Sectors ---------------------------------------------------------------------------------------------------------

_MAX_SYMBOLS: Final = 1_000


class SectorList(APIView):
    """The sectors of the map in use, with their symbols."""

    content_negotiation_class = Negotiation

    @extend_schema(responses=SectorsSerializer)
    def get(self, request: Request) -> Response:
        _words(request)
        known = selectors.sector_map()
        state = selectors.sector_map_state(known, now_ms())
        return Response({"map": state, "results": selectors.sectors(known)})


class SymbolList(APIView):
    """Name, rank and sectors of symbols: of all coins of the map against USDT, or of the pairs in `symbols`."""

    content_negotiation_class = Negotiation

    @extend_schema(
        responses=SymbolsSerializer,
        parameters=[
            OpenApiParameter(
                "symbols",
                str,
                description="Pairs in any spelling: repeat it, or separate by commas; also `symbol`. 400 if none.",
            ),
            OpenApiParameter(
                "sectors",
                str,
                description="Only symbols in one of these: repeat it, or separate by commas; also `sector`.",
            ),
        ],
    )
    def get(self, request: Request) -> Response:
        asked = _words(request, "symbol", "sector")
        if len(asked["symbol"]) > _MAX_SYMBOLS:
            raise ValidationError(
                {"symbols": f"Found {len(asked['symbol'])} symbols; expected at most {_MAX_SYMBOLS} per request."}
            )
        try:
            wanted = dict.fromkeys(parse_aliased(word).symbol for word in asked["symbol"])
        except InvalidSymbol as error:
            raise ValidationError({"symbols": f"{error}."}) from None
        known = selectors.sector_map()
        state = selectors.sector_map_state(known, now_ms())
        return Response({"map": state, "results": selectors.symbols(known, wanted, asked["sector"])})


def _words(request: Request, *names: str) -> dict[str, list[str]]:
    """The words given under each name or its plural. Raises `ValidationError` for an unknown parameter."""
    refuse_unknown(request, {"format", *names, *(f"{name}s" for name in names)})
    given: dict[str, list[Any]] = {
        name: request.query_params.getlist(name) + request.query_params.getlist(f"{name}s") for name in names
    }
    return {
        name: [word.strip() for text in texts for word in text.split(",") if word.strip()]
        for name, texts in given.items()
    }
