from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field

from alerts.models import Alert
from alerts.selectors import is_name, is_stored_method, search, symbols_from
from market.filters import TEXT, AnomalyFilter, VenueFilter, WordsFilter, is_text, refused
from market.walks import Chosen, choose
from market.wire.aliases import parse_aliased
from market.wire.messages import Method
from market.wire.symbols import start_of_symbol


class _SearchField(forms.CharField):
    def clean(self, value: Any) -> str:
        words = str(value or "").strip()
        if not is_text(words):
            raise refused(f"{words!r} contains unprintable characters; expected the start of a symbol.")
        return words


@extend_schema_field(
    {
        "type": "string",
        "pattern": TEXT,
        "description": "The start of a symbol (BTC), an alert's id, or the id of its incident.",
    }
)
class SearchFilter(django_filters.Filter):
    field_class = _SearchField

    def filter(self, qs: QuerySet[Alert], value: str) -> QuerySet[Alert]:
        if not value:
            return qs
        symbol = start_of_symbol(value)
        if isinstance(qs, Chosen) and symbol and symbol.isascii() and not is_name(value):
            symbols = symbols_from(symbol)
            return choose(qs.filter(symbol__in=symbols), "symbol", symbols)
        return search(qs, value)

    def matches(self, row: Any, value: str) -> bool:
        """Whether `filter` would find this row."""
        symbol = start_of_symbol(value)
        return bool(symbol and row.symbol.startswith(symbol)) or value in {row.pk, row.incident}


def _symbol(word: str) -> str:
    """The symbol of every venue that has it. Raises `InvalidSymbol`."""
    return parse_aliased(word).symbol


class AlertFilter(AnomalyFilter):
    search = SearchFilter("symbol")
    symbol = WordsFilter("symbol", plural="symbols", spelling=_symbol)
    venue = VenueFilter(plural="venues")
    interval = WordsFilter("interval", plural="intervals", spelling=str.lower)
    method = WordsFilter("method", plural="methods", allowed=list(Method), also=is_stored_method)
    incident = WordsFilter("incident", spelling=str)
