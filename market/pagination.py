"""Pages of a list: stored anomalies (newest first), or the changes after a stream cursor (oldest first)."""

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from django.db.models import QuerySet
from django.template import loader
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from market.models import Anomaly
from market.selectors import changed, reaches, stream_head, whole_messages
from market.walks import Place, rows
from market.wire.times import epoch_ms, moment

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
_PLACE: Final = re.compile(r"([0-9]{13}):([A-Za-z0-9_.:\-]{1,80})")
_SINCE: Final = re.compile(r"([0-9]{1,18}):([0-9]{1,18})")
PARAMETERS: Final = {
    "limit": f"Rows per page, from 1 to {MAX_LIMIT} (default: {DEFAULT_LIMIT}).",
    "before": "Rows older than `<timestamp>:<id>`. Follow `next` instead of composing it.",
    "after": "Rows newer than `<timestamp>:<id>`. Follow `previous` instead of composing it.",
    "since": (
        "A stream cursor, `<epoch>:<offset>`: every anomaly that changed after it, in its latest revision, oldest "
        "change first. Follow `next` until it is null; then continue from `cursor`, here or on `/ws`. Items that came "
        "in one message are on one page, even if they are more than `limit`."
    ),
}


class StreamPagination(BasePagination):
    """A page contains `cursor`, which is read before the rows: subscribing with it as `since` leaves no gap.

    Pages are delimited by (timestamp, id), so new anomalies do not shift them, even if many share a timestamp. At most
    one of `since`, `before` and `after` is allowed. Raises `ValidationError`.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        given = {name: request.query_params[name] for name in PARAMETERS if request.query_params.get(name)}
        if len(places := sorted(given.keys() - {"limit"})) > 1:
            raise ValidationError(
                {"detail": f"Found {', '.join(places)}; expected at most one of since, before and after."}
            )
        self.url = request.build_absolute_uri()
        self.next: str | None = None
        self.previous: str | None = None
        self.recovered: bool | None = None
        limit = _limit(given)
        self.display_page_controls = True
        self.cursor = stream_head()
        if "since" in given:
            return self._changes(queryset, *_since(given["since"]), limit)
        return self._page(queryset, given, limit)

    def _changes(self, queryset: QuerySet[Anomaly], epoch: int, offset: int, limit: int) -> list[Anomaly]:
        found = changed(queryset, epoch, offset, until=self.cursor and self.cursor[1])
        rows: list[Anomaly]
        rows, more = whole_messages(found, limit, attrgetter("offset"))
        self.recovered = reaches(epoch, offset)
        if not self.recovered:
            return []
        if more:
            self.cursor = (epoch, rows[-1].offset)
            self.next = replace_query_param(self.url, "since", f"{epoch}:{rows[-1].offset}")
        return rows

    def _page(self, queryset: QuerySet[Anomaly], given: Mapping[str, str], limit: int) -> list[Anomaly]:
        backwards = "after" in given  # towards newer rows
        than = _place(given, "after" if backwards else "before")
        rows = self.rows(queryset, than, limit + 1, backwards=backwards)
        more = len(rows) > limit
        rows = rows[:limit]
        if backwards:
            rows.reverse()
        if rows and (more or backwards):
            self.next = self._link("before", rows[-1])
        if rows and (more if backwards else "before" in given):
            self.previous = self._link("after", rows[0])
        return rows

    def rows(self, found: Any, than: Place | None, limit: int, *, backwards: bool) -> list[Any]:
        """The `limit` rows nearest to a place: newer ones (oldest first) if `backwards`, else older ones."""
        return rows(found, than, limit, backwards=backwards)

    def _link(self, direction: str, row: Anomaly) -> str:
        url = remove_query_param(remove_query_param(self.url, "before"), "after")
        return replace_query_param(url, direction, f"{epoch_ms(row.timestamp)}:{row.id}")

    def get_paginated_response(self, data: Any) -> Response:
        cursor = self.cursor and dict(zip(("epoch", "offset"), self.cursor, strict=True))
        recovered = {} if self.recovered is None else {"recovered": self.recovered}
        return Response({"cursor": cursor, **recovered, "next": self.next, "previous": self.previous, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        cursor = {
            "type": ["object", "null"],
            "required": ["epoch", "offset"],
            "properties": {
                "epoch": {"type": "integer", "description": "The stream's incarnation: a number that only rises."},
                "offset": {"type": "integer", "description": "Place in the stream: a sequence number."},
            },
            "description": "The stream's position after this page; continue from it as `since`, here or on `/ws`.",
        }
        recovered = {
            "type": "boolean",
            "description": "Only with `since`. False: the changes since then are incomplete; load the list again.",
        }
        return {
            "type": "object",
            "required": ["cursor", "next", "previous", "results"],
            "properties": {
                "cursor": cursor,
                "recovered": recovered,
                "next": link | {"description": "Address of the next page; null: this is the last one."},
                "previous": link | {"description": "Address of the page before; null: this is the first one."},
                "results": schema | {"description": "The items of this page."},
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
                if name == "limit"
                else {"type": "string", "pattern": f"^(?:{(_SINCE if name == 'since' else _PLACE).pattern})?$"},
            }
            for name, description in PARAMETERS.items()
        ]

    def to_html(self) -> str:
        context = {"previous_url": self.previous, "next_url": self.next}
        return loader.get_template("rest_framework/pagination/previous_and_next.html").render(context)


def _limit(given: Mapping[str, str]) -> int:
    text = given.get("limit", str(DEFAULT_LIMIT))
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text)
    raise ValidationError({"limit": f"{text} is not a page size; expected a whole number from 1 to {MAX_LIMIT}."})


def _since(text: str) -> tuple[int, int]:
    if match := _SINCE.fullmatch(text):
        return int(match[1]), int(match[2])
    raise ValidationError({"since": f"{text} is not a stream cursor; expected <epoch>:<offset>."})


def _place(given: Mapping[str, str], name: str) -> Place | None:
    if name not in given:
        return None
    if match := _PLACE.fullmatch(given[name]):
        return moment(int(match[1])), match[2]
    raise ValidationError({name: f"{given[name]} is not a place in the list; expected <timestamp>:<id>."})
