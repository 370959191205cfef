"""Alerts in words: our own sentence, or our figures before the words of a foreign publisher."""

from typing import Final

from market.pages import label_of
from market.templatetags.anomalies import percentage, rarity, signed, span
from market.wire.messages import Alert, Method

_NB: Final = "\N{NO-BREAK SPACE}"
_UNEXPLAINED: Final = "The message contains no explanation."
_SURGES: Final[dict[str, str]] = {Method.VOLUME: "volume", Method.VOLATILITY: "volatility"}


def is_foreign(alert: Alert) -> bool:
    """Whether somebody else wrote it. Our own alerts of 0.1 name no source, but their detector."""
    return alert.source is None and alert.explanation.detector is None


def lead(alert: Alert) -> str:
    """What happened: our own sentence; of a foreign alert what its figures say, for its sentence may say otherwise."""
    said = alert.explanation.sentence
    if not is_foreign(alert):
        return said or _UNEXPLAINED
    return _by_figures(alert) if said else f"{_by_figures(alert)} {_UNEXPLAINED}"


def publishers_words(alert: Alert) -> str:
    """The sentence of a foreign alert, to be quoted after `lead`; empty of our own."""
    return alert.explanation.sentence if is_foreign(alert) else ""


def _by_figures(alert: Alert) -> str:
    change = alert.change_pct
    if change is None:
        return f"{alert.symbol}: {label_of(alert.method)} {signed(alert.score)}."
    window = span(alert.explanation.window)
    within = f" in {window}" if window else ", over a window that the message does not name"
    if not change:
        return f"{alert.symbol} did not move{within}."
    return f"{alert.symbol} {'rose' if change > 0 else 'fell'} {percentage(abs(change)).lstrip('+')}{_NB}%{within}."


def _most_days(alert: Alert) -> float | None:
    """How many days were observed: nothing is known to be rarer than that."""
    known = alert.explanation.parameters.get("rarity")
    most = known.get("most_days") if isinstance(known, dict) else None
    return most if isinstance(most, (int, float)) else None


def _rare_of(alert: Alert) -> str:
    """What the rarity is of: `volume` or `volatility`, or empty if it is of the price's move.

    From HIGH on it is of the size of the move, whatever the method.
    """
    return "" if "size" in alert.explanation.parameters else _SURGES.get(alert.method, "")


def how_often(alert: Alert) -> str:
    """`once in 12 days`, `volume: once in 12 days`; empty if unknown."""
    often, of = rarity(alert.rarity_days, _most_days(alert)), _rare_of(alert)
    return f"{of}: {often}" if often and of else often
