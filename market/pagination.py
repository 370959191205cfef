"""Which part of a list an answer holds: a page of history (newest first) or what changed after a cursor (in order)."""

import re
from collections.abc import Mapping
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
from market.selectors import Place, changed, newer, older, reaches, stream_head
from market.wire.times import epoch_ms, moment

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
_PLACE: Final = re.compile(r"([0-9]{13}):([A-Za-z0-9_.:\-]{1,80})")
_SINCE: Final = re.compile(r"([0-9]{1,18}):([0-9]{1,18})")
PARAMETERS: Final = {
    "limit": f"Rows per answer, at most {MAX_LIMIT}; {DEFAULT_LIMIT} by default.",
    "before": "Rows older than this place, `<timestamp>:<id>`. Take it from `next`.",
    "after": "Rows newer than this place, `<timestamp>:<id>`. Take it from `previous`.",
    "since": (
        "A stream cursor, `<epoch>:<offset>`: every anomaly that changed after it, in its latest revision, oldest "
        "change first. Follow `next` to the end; `cursor` is then where to go on, here or on `/ws`."
    ),
}


class StreamPagination(BasePagination):
    """Answers carry `cursor`, read before the rows: subscribing with it as `since` continues without a gap.

    History is paged by (timestamp, id), so that pages stay put while anomalies come in, however many of them share a
    timestamp. Of `since`, `before` and `after`, at most one may be given.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        given = {name: request.query_params[name] for name in PARAMETERS if request.query_params.get(name)}
        if len(given.keys() - {"limit"}) > 1:
            raise ValidationError({"detail": "Give at most one of since, before and after."})
        self.url = request.build_absolute_uri()
        self.next: str | None = None
        self.previous: str | None = None
        self.recovered: bool | None = None
        limit = _limit(given)
        self.display_page_controls = True
        self.cursor = stream_head()
        if "since" in given:
            return self._changes(queryset, *_since(given["since"]), limit)
        return self._history(queryset, given, limit)

    def _changes(self, queryset: QuerySet[Anomaly], epoch: int, offset: int, limit: int) -> list[Anomaly]:
        rows = list(changed(queryset, epoch, offset, until=self.cursor and self.cursor[1])[: limit + 1])
        self.recovered = reaches(epoch, offset)
        if not self.recovered:
            return []
        if len(rows) > limit:
            rows = rows[:limit]
            self.cursor = (epoch, rows[-1].offset)
            self.next = replace_query_param(self.url, "since", f"{epoch}:{rows[-1].offset}")
        return rows

    def _history(self, queryset: QuerySet[Anomaly], given: Mapping[str, str], limit: int) -> list[Anomaly]:
        backwards = "after" in given  # towards the newest, from a page further down
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
        """The first `limit` rows from a place on: upwards if `backwards`, else downwards."""
        return list((newer(found, than) if backwards else older(found, than))[:limit])

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
            "properties": {"epoch": {"type": "integer"}, "offset": {"type": "integer"}},
            "description": "Where the stream goes on after this answer: a `since` for `/ws` and for this list.",
        }
        recovered = {
            "type": "boolean",
            "description": "Answers `since`: false when what came after cannot be told in full; load the list afresh.",
        }
        return {
            "type": "object",
            "required": ["cursor", "next", "previous", "results"],
            "properties": {
                "cursor": cursor,
                "recovered": recovered,
                "next": link,
                "previous": link,
                "results": schema,
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
                else {"type": "string"},
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
    raise ValidationError({"limit": f"{text} is not a whole number from 1 to {MAX_LIMIT}."})


def _since(text: str) -> tuple[int, int]:
    if match := _SINCE.fullmatch(text):
        return int(match[1]), int(match[2])
    raise ValidationError({"since": f"{text} is not a stream cursor, <epoch>:<offset>."})


def _place(given: Mapping[str, str], name: str) -> Place | None:
    if name not in given:
        return None
    if match := _PLACE.fullmatch(given[name]):
        return moment(int(match[1])), match[2]
    raise ValidationError({name: f"{given[name]} is not a place in the list, <timestamp>:<id>."})
