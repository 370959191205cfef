from market.filters import AnomalyFilter, WordsFilter
from market.wire.messages import Method, unify_symbol


class AlertFilter(AnomalyFilter):
    symbol = WordsFilter("symbol", plural="symbols", spelling=unify_symbol)
    venue = WordsFilter("venue", plural="venues", spelling=str.lower)
    interval = WordsFilter("interval", plural="intervals", spelling=str.lower)
    method = WordsFilter("method", plural="methods", allowed=list(Method))
    incident = WordsFilter("incident", spelling=str)
