"""Candles over HTTP."""

import logging
import re
from collections.abc import Iterator
from typing import Any, Final

from django.http.response import HttpResponseBase
from drf_spectacular.utils import (
    extend_schema,
    extend_schema_field,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.utils.urls import remove_query_param, replace_query_param

from ingestion.timeseries.charting import MOST_SYMBOLS, Page, named_symbols, pages
from ingestion.timeseries.core.charts import rolled_up
from ingestion.timeseries.store import FOR_EVER_MS, CandleStore, StoredCandle, StoreUnavailable
from ingestion.timeseries.stores import candle_store
from market.export_views import FORMAT, HasExport
from market.exports import EXPORTS, Chunk, ColumnChunk, Export
from market.filters import GIVEN_TIME, refuse_unknown, with_plus
from market.negotiation import Negotiation
from market.wire.aliases import parse_aliased, venue_aliased
from market.wire.decoding import time_ms
from market.wire.messages import OHLCV, VENUE, InvalidMessage
from market.wire.symbols import InvalidSymbol

logger = logging.getLogger(__name__)

DEFAULT_LIMIT: Final = 500
MAX_LIMIT: Final = 5000


class HistoryUnavailable(APIException):
    """The store of history does not answer."""

    status_code = 503
    default_code = "unavailable"
    wait = 5


def unavailable(error: StoreUnavailable) -> HistoryUnavailable:
    """What the client gets; the log gets all."""
    logger.warning("History could not be read: %s", error)
    return HistoryUnavailable(error.public)


@extend_schema_field({"type": "string", "pattern": GIVEN_TIME})
class MomentField(serializers.Field[int, str, int, Any]):
    """Epoch ms of any time that `/alerts` takes too."""

    def to_internal_value(self, data: str) -> int:
        try:
            return time_ms(with_plus(data))
        except (InvalidMessage, OverflowError):
            raise ValidationError(f"{data} is neither epoch milliseconds nor an ISO 8601 time.") from None

    def to_representation(self, value: int) -> int:
        return value


class VenueField(serializers.RegexField):
    """A venue as candles have it, or as others write the name of its exchange (`BINANCE_FUTURES`)."""

    def to_internal_value(self, data: Any) -> str:
        text = str(super().to_internal_value(data))
        return text if re.fullmatch(VENUE, text) else venue_aliased(text)


class CandleQuery(serializers.Serializer[Any]):
    symbol = serializers.RegexField(
        r"^(?:[^:]{1,40}:)?[^:]{1,40}(?::[^:]{1,30})?\Z",
        max_length=120,
        required=False,
        help_text="Such as `BTCUSDT`, `BTC/USDT` or `BINANCE:BTCUSDT`, which names the venue too. 400 if none.",
        error_messages={"invalid": "That is not a symbol: one has at most 40 characters, such as BTCUSDT."},
    )
    interval = serializers.RegexField(
        r"^[1-9][0-9]{0,3}[smhd]\Z",
        default="1m",
        help_text="Length of the candles, such as `1s`, `1m`, `5m`: `1m` is always kept.",
        error_messages={"invalid": "That is not an interval: a number and one of s, m, h, d, such as 1s, 1m, 5m, 1h."},
    )
    venue = VenueField(
        r"^[a-z0-9][a-z0-9_\-]{0,39}\Z",
        required=False,
        allow_blank=True,
        help_text="Needed when several venues have candles of the symbol.",
        error_messages={"invalid": "That is not the name of a venue, such as binance."},
    )
    limit = serializers.IntegerField(
        min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT, help_text="Candles per answer."
    )
    symbols = serializers.CharField(
        max_length=8_000,
        required=False,
        help_text=f"Up to {MOST_SYMBOLS} symbols, separated by commas, in place of `symbol`: the answer has `series`.",
    )
    rollup = serializers.BooleanField(
        required=False,
        default=False,
        help_text=f"Make {', '.join(rolled_up)} candles of shorter ones where they are not stored.",
    )

    def get_fields(self) -> dict[str, Any]:
        """`from` and `to` are times; `from` is no name in Python."""
        times = "Epoch milliseconds or an ISO 8601 time (UTC if it names no zone)."
        fields = super().get_fields()
        fields["symbol"].required = "symbols" not in getattr(self, "initial_data", ("symbols",))
        return {
            **fields,
            "from": MomentField(required=False, help_text=f"Closed then or later. {times} Without it: the newest."),
            "to": MomentField(required=False, help_text=f"Closed before. {times}"),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "symbols" in attrs:
            if "symbol" in attrs:
                raise ValidationError({"symbols": "Found symbol and symbols; use one of them."})
            attrs["names"] = named_symbols([attrs["symbols"]], attrs.get("venue", ""))
        else:
            try:
                found = parse_aliased(attrs["symbol"], attrs.get("venue", ""))
            except InvalidSymbol as error:
                raise ValidationError({"symbol": f"{error}."}) from None
            attrs |= {"symbol": found.symbol, "venue": attrs.get("venue") or found.venue or ""}
        if attrs.get("from", 0) > attrs.get("to", FOR_EVER_MS):
            raise ValidationError({"to": "The range ends before it starts."})
        return attrs


class ExportQuery(CandleQuery):
    """All candles of the range, unless `limit` is given."""

    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, required=False)


_COLUMNS: Final = {
    "venue": "string",
    "symbol": "string",
    "interval": "string",
    "timestamp": "int64",
    **dict.fromkeys(OHLCV, "float64"),
}


def _fields() -> dict[str, Any]:
    """What is answered for one symbol."""
    return {
        "symbol": serializers.CharField(help_text="Symbol in the one spelling of all venues, like BTCUSDT."),
        "interval": serializers.CharField(help_text="Length of a candle, like 1m."),
        "venue": serializers.CharField(allow_null=True, help_text="Name of the venue; null when there is no candle."),
        "next": serializers.URLField(allow_null=True, help_text="The later candles of the range, if any."),
        "candles": _StoredCandle(many=True, help_text="Oldest first."),
        "made_of": serializers.CharField(
            required=False, help_text="With `symbols` or `rollup`: the interval of the stored candles."
        ),
        "intervals": serializers.ListField(
            child=serializers.CharField(),
            required=False,
            help_text="Only if there are no candles of this interval: those that there are, the shortest first.",
        ),
    }


_StoredCandle: Final = type(
    inline_serializer(
        "StoredCandle",
        {
            "timestamp": serializers.IntegerField(help_text="Close time, in epoch milliseconds (UTC)."),
            **{
                name: serializers.FloatField(help_text=f"{name.capitalize()} price, in the quote currency.")
                for name in OHLCV[:-1]
            },
            "volume": serializers.FloatField(help_text="Volume of the candle, in the base currency."),
        },
    )
)
_SERIES: Final = "With `symbols`: a series for each, in their order; `symbol` then names all, and `candles` is empty."


class CandleList(HasExport):
    """Candles of one symbol, oldest first: from `from` on, or the newest ones. `timestamp` is when a candle closed."""

    content_negotiation_class = Negotiation
    renderer_classes = [*api_settings.DEFAULT_RENDERER_CLASSES, *EXPORTS]  # type: ignore[list-item]

    def file_name(self, request: Request) -> str:
        return "candles"

    def chunks(self, request: Request, form: type[Export]) -> Iterator[Chunk]:
        """Oldest first; with `limit` and without `from` the newest, as in JSON."""
        query = _checked(request, ExportQuery)
        if "names" in query or query["rollup"]:
            name = "symbols" if "names" in query else "rollup"
            raise ValidationError({name: "Files have the candles of one symbol as they are stored: leave this out."})
        try:
            for candles in _every(candle_store(), query, form.size):
                yield ColumnChunk(
                    [(candle.venue, query["symbol"], query["interval"], *candle[1:]) for candle in candles], _COLUMNS
                )
        except StoreUnavailable as error:
            raise unavailable(error) from None

    @extend_schema(
        parameters=[CandleQuery, FORMAT],
        responses=inline_serializer(
            "Candles",
            _fields()
            | {"series": inline_serializer("CandleSeries", _fields(), many=True, required=False, help_text=_SERIES)},
        ),
    )
    def get(self, request: Request) -> HttpResponseBase:
        if (file := self.export(request)) is not None:
            return file
        query = _checked(request)
        if "names" in query or query["rollup"]:
            return self._charts(request, query)
        symbol, interval, limit = query["symbol"], query["interval"], query["limit"]
        newest = "from" not in query
        store = candle_store()
        try:
            venue = the_venue(store, query)
            found = store.read(
                symbol,
                interval,
                start_ms=query.get("from", 0),
                end_ms=query.get("to", FOR_EVER_MS),
                limit=limit + 1,
                newest=newest,
                venue=venue,
            )
        except StoreUnavailable as error:
            raise unavailable(error) from None
        more = len(found) > limit
        page = found[-limit:] if newest else found[:limit]
        following = None
        if more and not newest:
            following = replace_query_param(request.build_absolute_uri(), "from", str(found[limit].close_time))
        answer = {
            "symbol": symbol,
            "interval": interval,
            "venue": found[0].venue if found else None,
            "next": following,
            "candles": [_candle(candle) for candle in page],
        }
        return Response(answer if found else answer | _others(query))

    @staticmethod
    def _charts(request: Request, query: dict[str, Any]) -> Response:
        """Many symbols, or longer candles."""
        many = "names" in query
        names = query["names"] if many else [(query["symbol"], query["venue"])]
        if "limit" not in request.query_params:
            query.pop("limit", None)
        try:
            found = pages(candle_store(), query, names)
        except StoreUnavailable as error:
            raise unavailable(error) from None
        series = [
            {
                "symbol": page.symbol,
                "interval": query["interval"],
                "venue": page.venue if page.candles else None,
                "next": _next(request, page, query),
                "candles": [_candle(candle) for candle in page.candles],
                "made_of": page.base,
            }
            for page in found
        ]
        if not many:
            return Response(series[0])
        # As for one symbol, so that a client of that reads it.
        names_of = ",".join(page.symbol for page in found)
        whole = {"symbol": names_of, "interval": query["interval"], "venue": None, "next": None, "candles": []}
        return Response(whole | {"series": series})


def _next(request: Request, page: Page, query: dict[str, Any]) -> str | None:
    if page.following is None:
        return None
    url = remove_query_param(request.build_absolute_uri(), "symbols")
    for name, value in (("symbol", page.symbol), ("venue", page.venue), ("from", str(page.following))):
        url = replace_query_param(url, name, value)
    return replace_query_param(url, "rollup", "true") if page.base != query["interval"] else url


def _every(store: CandleStore, query: dict[str, Any], size: int) -> Iterator[list[StoredCandle]]:
    """The candles of a query, at most `size` at a time. At least one list. Raises `StoreUnavailable`."""
    venue, left = the_venue(store, query), query.get("limit")
    start, end = query.get("from", 0), query.get("to", FOR_EVER_MS)
    names = (query["symbol"], query["interval"])
    if left:
        newest = "from" not in query
        yield store.read(*names, start_ms=start, end_ms=end, limit=left, newest=newest, venue=venue)
        return
    while True:
        found = store.read(*names, start_ms=start, end_ms=end, limit=size, venue=venue)
        yield found
        if len(found) < size:
            return
        start = found[-1].close_time + 1


def _others(query: dict[str, Any]) -> dict[str, list[str]]:
    """The intervals that there are instead of the one that was asked for, if there are any."""
    try:
        there = candle_store().intervals(query["symbol"], query["venue"])
    except StoreUnavailable as error:
        raise unavailable(error) from None
    return {"intervals": there} if there and query["interval"] not in there else {}


def the_venue(store: CandleStore, query: dict[str, Any]) -> str:
    """The venue that a query means; empty if none has the symbol.

    Raises `ValidationError` if it names none and several have the symbol, and `StoreUnavailable`.
    """
    if venue := query.get("venue"):
        return str(venue)
    venues = store.venues(query["symbol"], query["interval"])
    if len(venues) > 1:
        raise ValidationError({"venue": f"{query['symbol']} is on {', '.join(venues)}: choose one of them."})
    return venues[0] if venues else ""


def _candle(candle: StoredCandle) -> dict[str, float]:
    fields = candle._asdict()
    del fields["venue"]
    return {"timestamp": fields.pop("close_time"), **fields}


def _checked(request: Request, kind: type[CandleQuery] = CandleQuery) -> dict[str, Any]:
    """Return the validated query. Raises `ValidationError`."""
    query = kind(data=request.query_params.dict())
    refuse_unknown(request, {*query.fields, "format"})
    query.is_valid(raise_exception=True)
    checked: dict[str, Any] = query.validated_data
    return checked
