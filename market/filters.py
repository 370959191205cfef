"""Query parameters that filter lists. An invalid value is rejected with the values that are allowed."""

import re
from collections.abc import Callable, Collection, Set
from datetime import datetime
from typing import Any, Final

import django_filters
from django import forms
from django.db import connection
from django.db.models import Q, QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from market.models import IS_OPEN, Anomaly, ReviewState
from market.walks import Chosen, choose
from market.wire.aliases import venue_aliased
from market.wire.decoding import time_ms
from market.wire.exchanges import plain_venue
from market.wire.messages import (
    SEVERITIES,
    Direction,
    InvalidMessage,
    Lifecycle,
    MarketType,
    Rank,
    Severity,
    SourceKind,
)
from market.wire.times import moment

Found = QuerySet[Anomaly]

# Characters that no name has, as a class of a regular expression of the schema.
CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"


def refused(text: str) -> forms.ValidationError:
    """The error with this sentence. A `%` that it quotes would be read as a placeholder without `params`."""
    return forms.ValidationError("%(text)s", params={"text": text})


# Of times, as the schema describes them, with days that there are. Other spellings that `time_ms` reads are not
# promised.
_DATE: Final = (
    r"[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    r"|(?:[12]\d(?:0[48]|[2468][048]|[13579][26])|(?:12|16|20|24|28)00)-02-29"
)
_TIME_OF_DAY: Final = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{3}(?:\d{3})?)?)?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)?"
# A number above zero: as `time_ms` reads it, and a time in milliseconds.
_NUMBER: Final = r"(?=[\d.]*[1-9])\d{1,13}(?:\.\d{1,6})?"
GIVEN_TIME: Final = f"^(?:{_NUMBER}|(?:{_DATE})(?:T{_TIME_OF_DAY})?)$"
TIME: Final = f"^$|{GIVEN_TIME}"
# Of names and of what is searched for.
TEXT: Final = f"^[^{CONTROLS}]*$"


def is_text(text: str) -> bool:
    """Whether this may be a name, or a part of one."""
    return re.fullmatch(TEXT, text) is not None


class _WordsInput(forms.TextInput):
    """A list as `?name=A,B`, as `?name=A&name=B`, and under the plural name that `/ws` uses."""

    def __init__(self, plural: str | None, placeholder: str) -> None:
        super().__init__({"placeholder": placeholder})
        self.plural = plural

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        given = [text for key in (name, self.plural) for text in data.getlist(key)]
        words = (word.strip(" \t\r\n") for text in given for word in text.split(","))
        return [word for word in words if word]

    def format_value(self, value: Any) -> str:
        return ",".join(value or ())


class _WordsField(forms.Field):
    def __init__(
        self,
        *,
        plural: str | None,
        spelling: Callable[[str], str],
        allowed: Collection[str],
        also: Callable[[str], bool],
        **options: Any,
    ) -> None:
        super().__init__(widget=_WordsInput(plural, ", ".join(allowed)), **options)
        self.spelling, self.allowed, self.also = spelling, allowed, also

    def clean(self, value: list[str]) -> list[str]:
        try:
            words = [self.spelling(word) for word in value]
        except ValueError as error:
            raise refused(f"{error}.") from None
        for given, word in zip(value, words, strict=True):
            if not is_text(given) or not word:
                raise refused(f"{given!r} is empty or contains unprintable characters; expected a name.")
            if self.allowed and word not in self.allowed and not self.also(word):
                raise refused(f"{given} is unknown; expected one of {', '.join(self.allowed)}.")
        return words


class WordsFilter(django_filters.Filter):
    """Rows whose column equals one of the given words. An empty `allowed` permits any word, `also` more than those."""

    field_class = _WordsField

    def __init__(
        self,
        field_name: str,
        *,
        plural: str | None = None,
        allowed: Collection[str] = (),
        spelling: Callable[[str], str] = str.upper,
        meaning: str = "Any of these",
        also: Callable[[str], bool] | None = None,
    ) -> None:
        more = also or (lambda word: False)
        super().__init__(field_name, "in", plural=plural, allowed=tuple(allowed), spelling=spelling, also=more)
        # Forms send what is not filled in as an empty text.
        words: dict[str, Any] = {"type": "string", "enum": [*allowed, ""]} if allowed else {"pattern": TEXT}
        words["type"] = "string"
        names = f"; also as `{plural}`" if plural else ""
        extend_schema_field(
            {
                "type": "array",
                "items": words,
                "description": f"{meaning}: repeat the parameter, or separate values by commas{names}.",
            }
        )(self)

    @property
    def names(self) -> set[str]:
        return {self.extra["plural"]} - {None}

    def filter(self, qs: Found, value: list[str]) -> Found:
        found: Found = super().filter(qs, value)
        return choose(found, self.field_name, value)


class VenueFilter(WordsFilter):
    """Venues as others write them: `BINANCE_FUTURES` finds `binanceusdm`, and rows that kept `binance_futures`."""

    def __init__(self, *, plural: str | None = None) -> None:
        super().__init__("venue", plural=plural, spelling=plain_venue)

    def filter(self, qs: Found, value: list[str]) -> Found:
        return super().filter(qs, list(dict.fromkeys([*value, *map(venue_aliased, value)])))


class SeverityFilter(WordsFilter):
    def __init__(self, *, plural: str | None = None, at_least: bool = False) -> None:
        meaning = "At least as severe as one of these" if at_least else "Any of these"
        super().__init__("severity", plural=plural, allowed=SEVERITIES, meaning=meaning)
        self.at_least = at_least

    def filter(self, qs: Found, value: list[str]) -> Found:
        ranks = [Severity(word).rank for word in value]
        if ranks and self.at_least:
            least = min(ranks)
            return choose(qs.filter(severity__gte=least), "severity", [rank for rank in Rank if rank >= least])
        if len(set(ranks)) > 1:
            return choose(any_of_many(qs, "severity", ranks, list(Rank)[1:]), "severity", ranks)
        found: Found = super().filter(qs, ranks)  # type: ignore[arg-type]
        return found


class ReviewFilter(WordsFilter):
    def __init__(self) -> None:
        super().__init__("review_state", allowed=ReviewState.values, spelling=str.lower)

    def filter(self, qs: Found, value: list[str]) -> Found:
        if ReviewState.NEW in value:  # most rows, so it is not `chosen`
            return any_of_many(qs, "review_state", value, ReviewState.values)
        found: Found = super().filter(qs, value)
        return found


def any_of_many(found: Found, column: str, chosen: Collection[Any], values: Collection[Any]) -> Found:
    """Rows whose column has one of the `chosen` of all its `values`, which most rows may have.

    SQLite knows nothing about the number of rows: it would look up all of them by the column's index and sort them,
    for a page of the newest. It has no use for that index if the values are excluded instead.
    """
    if connection.vendor == "sqlite":
        rest = [value for value in values if value not in chosen]
        return found.filter(~Q(**{f"{column}__in": rest})) if rest else found
    return found.filter(**{f"{column}__in": chosen})


class StateFilter(WordsFilter):
    """Open and escalated anomalies are found by the index of those that are not closed."""

    def __init__(self) -> None:
        super().__init__("state", allowed=list(Lifecycle))

    def filter(self, qs: Found, value: list[str]) -> Found:
        if Lifecycle.CLOSED in value:  # most rows
            return qs.filter(state__in=value)
        found: Found = super().filter(qs.filter(IS_OPEN) if value else qs, value)
        return found


# A time of day, a space, an offset: `+` is a space in a query unless it is escaped as %2B.
_UNESCAPED: Final = re.compile(r"(.*[T ]\d\d[\d:.,]*) (\d\d(?::?\d\d)?)", re.DOTALL)


def with_plus(text: str) -> str:
    """
    >>> with_plus("2024-01-01T00:00:00 02:00"), with_plus("2024-01-01 02:00")
    ('2024-01-01T00:00:00+02:00', '2024-01-01 02:00')
    """
    found = _UNESCAPED.fullmatch(text.strip())
    return f"{found[1]}+{found[2]}" if found else text


def read_moment(text: str) -> datetime:
    """A time as `/alerts` takes it. Raises `ValueError` with a sentence."""
    try:
        return moment(time_ms(with_plus(text)))
    except (InvalidMessage, OverflowError) as error:
        raise ValueError(
            f"{text} is not a time; expected epoch milliseconds or ISO 8601, like 2024-05-01T12:00Z."
        ) from error


class _MomentField(forms.CharField):
    def clean(self, value: Any) -> datetime | None:
        try:
            return read_moment(value) if value else None
        except ValueError as error:
            raise refused(str(error)) from error


@extend_schema_field(
    {
        "type": "string",
        "pattern": TIME,
        "description": "Epoch milliseconds or an ISO 8601 time (UTC if it names no zone).",
    }
)
class MomentFilter(django_filters.Filter):
    field_class = _MomentField

    def filter(self, qs: Found, value: datetime | None) -> Found:
        if value is not None and isinstance(qs, Chosen):
            return qs.limit_to(Q(**{f"{self.field_name}__{self.lookup_expr}": value}))
        found: Found = super().filter(qs, value)
        return found


def time_range() -> dict[str, django_filters.Filter]:
    """The filters `from` (inclusive) and `to` (exclusive); a dictionary, because `from` is a Python keyword."""
    return {"from": MomentFilter("timestamp", "gte"), "to": MomentFilter("timestamp", "lt")}


class _RangeForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        start, end = self.cleaned_data.get("from"), self.cleaned_data.get("to")
        if start and end and start > end:
            self.add_error("to", "The range ends before it starts: `to` is earlier than `from`.")
        return self.cleaned_data


class AnomalyFilter(django_filters.FilterSet):
    """Filters that alerts and market anomalies share."""

    class Meta:
        form = _RangeForm

    severity = SeverityFilter(plural="severities")
    min_severity = SeverityFilter(at_least=True)
    direction = WordsFilter("direction", allowed=list(Direction))
    state = StateFilter()
    source = WordsFilter("source", plural="sources", allowed=list(SourceKind), spelling=str.lower)
    review_state = ReviewFilter()

    @classmethod
    def get_filters(cls) -> dict[str, django_filters.Filter]:
        return {**super().get_filters(), **time_range()}


class MarketAnomalyFilter(AnomalyFilter):
    type = WordsFilter("type", plural="types", allowed=list(MarketType))
    sector = WordsFilter("sector", plural="sectors", spelling=str)
    venue = VenueFilter(plural="venues")


class StressFilter(django_filters.FilterSet):
    class Meta:
        form = _RangeForm

    venue = VenueFilter()

    @classmethod
    def get_filters(cls) -> dict[str, django_filters.Filter]:
        return {**super().get_filters(), **time_range()}


def refuse_unknown(request: Request, known: Set[str]) -> None:
    """Raise `ValidationError` (HTTP 400) if the query has a parameter that is not in `known`; the error lists `known`.

    A misspelt parameter that is silently ignored would match everything.
    """
    if unknown := sorted(request.query_params.keys() - known):
        raise ValidationError(dict.fromkeys(unknown, f"Unknown parameter. Known: {', '.join(sorted(known))}."))


class StrictFilterBackend(DjangoFilterBackend):
    """Rejects unknown parameters: a misspelt filter would otherwise silently match everything.

    Known are the filters, the parameters of the pages, and those that the view names in `parameters`.
    """

    def filter_queryset(self, request: Request, queryset: Found, view: Any) -> Found:
        filters = view.filterset_class.base_filters
        known = {"format", *filters, *(name for each in filters.values() for name in getattr(each, "names", ()))}
        known |= set(getattr(view, "parameters", ()))
        if view.paginator:
            known |= {parameter["name"] for parameter in view.paginator.get_schema_operation_parameters(view)}
        refuse_unknown(request, known)
        found: Found = super().filter_queryset(request, queryset, view)
        return found
