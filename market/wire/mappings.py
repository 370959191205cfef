"""Alerts of TradingView and Prometheus' Alertmanager, in the fields that `market.wire.foreign` reads.

Neither says how it found something: the method is EXTERNAL unless the message has one. What neither says and an alert
needs, above all its direction, has to be in the message: it is never invented.

Sources: tradingview.com/support/solutions/43000531021 (placeholders of alerts); prometheus.io/docs/alerting/latest,
"webhook_config" (version 4).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from market.wire.messages import InvalidMessage, Lifecycle, Method, Severity
from market.wire.reasons import listed, missing, refuse, shown
from market.wire.values import absent, number_of, snake_case, time_of, word_of

Fields = dict[str, Any]

_DIRECTION: Final = "UP or DOWN, or long, short, buy or sell"
# The zero of Go's times: not ended yet.
_NO_TIME: Final = "0001-01-01"


def mapped(raw: Fields, aliases: Mapping[str, str], received_at: int) -> Fields:
    """The same alert in fields of ours, if it is TradingView's or the Alertmanager's; otherwise `raw` itself.

    `aliases`: other names of our fields, in snake case. The result has an id, unless it was complete without the
    mapping. Raises `InvalidMessage`.
    """
    if isinstance(raw.get("labels"), dict) and raw.keys() & {"annotations", "startsAt", "endsAt", "fingerprint"}:
        return _alertmanager(raw, aliases, received_at)
    if _of_tradingview(raw):
        return _tradingview(raw, aliases)
    return raw


def _named(fields: Mapping[str, Any], aliases: Mapping[str, str]) -> Fields:
    """The fields that stand for something, in our spelling."""
    named = {snake_case(key): value for key, value in fields.items() if not absent(value)}
    return {aliases.get(name, name): value for name, value in named.items()}


def _digest(*parts: Any) -> str:
    content = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


# --- TradingView ------------------------------------------------------------------------------------------------------

# Names that a message has of TradingView's placeholders alone. An object inside is spelt `strategy.order.action`.
_TRADINGVIEW: Final = re.compile(
    r"timenow|plot_\d+|bar\.(?:time|close)|strategy\.(?:order\.\w+|order_\w+|(?:prev_)?market_position(?:_size)?|position_size)"
)
_OBJECTS: Final = frozenset(("strategy", "bar"))
# What makes a message TradingView's if it names its symbol as TradingView does.
_WITH_TICKER: Final = frozenset(("close", "action", "market_position"))
_ACTIONS: Final = ("strategy.order.action", "strategy.order_action", "order_action", "action")
_POSITIONS: Final = ("strategy.market_position", "market_position")
_BAR: Final = ("time", "open", "high", "low", "close", "volume")
_TEXTS: Final = (
    "message", "alert_message", "strategy.order.alert_message", "comment", "strategy.order.comment", "text",
    "description", "alert_name", "alert", "name",
)  # fmt: skip
_PLACEHOLDER: Final = re.compile(r"\{\{[^{}]*\}\}")
# What an alert that is of no strategy, or of an indicator with fewer plots, leaves as it is.
_UNFILLED: Final = re.compile(r"\s*\{\{(?:strategy\.|plot)[^{}]*\}\}\s*")
_DELAYED: Final = re.compile(r"_DLY?$", re.IGNORECASE)


def _flat(fields: Mapping[str, Any], before: str = "") -> Fields:
    """`{"strategy": {"order": {"action": "buy"}}}` → `{"strategy.order.action": "buy"}`, without what is null."""
    flat: Fields = {}
    for key, value in fields.items():
        name = f"{before}{key.strip().lower()}"
        if isinstance(value, dict) and before.count(".") < 2:
            flat |= _flat(value, f"{name}.")
        elif value is not None:
            flat[name] = value
    return flat


def _of_tradingview(raw: Fields) -> bool:
    names = {key.strip().lower(): value for key, value in raw.items()}
    if "ticker" in names and not names.keys().isdisjoint(_WITH_TICKER):
        return True
    inner = _flat({name: value for name, value in names.items() if name in _OBJECTS})
    return any(_TRADINGVIEW.fullmatch(name) for name in (*names, *inner))


def _tradingview(raw: Fields, aliases: Mapping[str, str]) -> Fields:
    raw = {name: value for name, value in raw.items() if not (isinstance(value, str) and _UNFILLED.fullmatch(value))}
    flat, ours = _flat(raw), _named(raw, aliases)
    for name, value in flat.items():
        if isinstance(value, str) and (found := _PLACEHOLDER.search(value)):
            raise refuse(f"{name} is {shown(value)}: TradingView did not fill in {found[0]}; check its spelling")
    complete = ours.keys() >= {"severity", "method", "score"}
    bar = {name: flat.get(name, flat.get(f"bar.{name}")) for name in _BAR}
    if "timenow" in flat:
        ours["timestamp"] = flat["timenow"]
    elif "timestamp" not in ours and bar["time"] is not None:
        ours["timestamp"] = bar["time"]
    if isinstance(ours.get("venue"), str):
        ours["venue"] = _DELAYED.sub("", ours["venue"])
    ours.setdefault("price", bar["close"])
    _move(ours, flat, bar)
    if complete:
        return ours
    ours.setdefault("severity", Severity.MEDIUM)
    ours.setdefault("method", Method.EXTERNAL)
    if word_of(ours["method"]) == Method.EXTERNAL:
        ours.setdefault("score", 0.0)
    text = next((flat[name] for name in _TEXTS if isinstance(flat.get(name), str) and flat[name].strip()), None)
    plots = {name: value for name, value in flat.items() if name.startswith("plot")}
    details = {"bar": {name: value for name, value in bar.items() if value is not None}, "plots": plots}
    parameters = {name: value for name, value in details.items() if value}
    ours.setdefault("explanation", {"sentence": text, "parameters": {"tradingview": parameters}})
    if "id" not in ours:
        what = [ours.get(name) for name in ("symbol", "venue", "interval", "method", "direction", "timestamp")]
        ours["id"] = f"tv-{_digest(*what, text, flat.get('strategy.order.id'), plots)}"
    return ours


def _move(ours: Fields, flat: Fields, bar: Fields) -> None:
    """Put in the direction that the message says, or what the bar says of it. Raises `InvalidMessage` for none."""
    if "direction" in ours:
        return
    said = [flat[name] for name in _ACTIONS if not absent(flat.get(name))]
    said += [flat[name] for name in _POSITIONS if not absent(flat.get(name)) and word_of(flat[name]) != "FLAT"]
    if said:
        ours["direction"] = said[0]
        return
    if ours.keys().isdisjoint(("change_pct", "score")) and None not in (bar["open"], bar["close"]):
        first, last = number_of("open", bar["open"]), number_of("close", bar["close"])
        if first and last and first > 0 and first != last:
            ours["change_pct"] = 100 * (last / first - 1)
    if ours.keys().isdisjoint(("change_pct", "score")):
        raise refuse(
            'direction is missing: add "direction": "UP" to the message of the alert '
            f'({_DIRECTION}), or "action": "{{{{strategy.order.action}}}}", or "open": {{{{open}}}} beside the close'
        )


# --- Alertmanager -----------------------------------------------------------------------------------------------------

_SYMBOL_LABELS: Final = ("symbol", "ticker", "pair", "instrument")
# Fields that labels or annotations may have; labels come first.
_LABELLED: Final = (
    "symbol", "venue", "interval", "method", "severity", "direction", "score", "threshold", "price", "expected",
    "lower", "upper", "change_pct",
)  # fmt: skip
_SENTENCES: Final = ("summary", "description", "message", "title")


def _alertmanager(raw: Fields, aliases: Mapping[str, str], received_at: int) -> Fields:
    labels = {key: value for key, value in raw["labels"].items() if not absent(value)}
    notes = raw.get("annotations")
    notes = {key: value for key, value in notes.items() if not absent(value)} if isinstance(notes, dict) else {}
    said = _named(notes, aliases) | _named(labels, aliases)
    if "symbol" not in said and "instrument" in said:
        said["symbol"] = said["instrument"]
    ours = {name: said[name] for name in _LABELLED if name in said}
    if "symbol" not in ours:
        raise refuse(f"symbol is missing: the alert needs a label {listed(_SYMBOL_LABELS)}; it has {_names(labels)}")
    if "severity" not in ours:
        raise refuse(f"severity is missing: the alert needs a label severity: {listed(Severity)}, or warning")
    ours.setdefault("method", Method.EXTERNAL)
    if word_of(ours["method"]) == Method.EXTERNAL and "score" not in ours:
        ours["score"] = _value(notes) or 0.0
        if ours.keys().isdisjoint(("direction", "change_pct")):
            raise refuse(f"direction is missing: the alert needs a label direction ({_DIRECTION}), or one change_pct")
    started, ended = (_moment(name, raw.get(name)) for name in ("startsAt", "endsAt"))
    if started is None:
        raise missing("startsAt", "the time at which the alert began firing, like 2024-05-01T12:00:00Z")
    state = raw.get("status", raw.get("state"))
    if isinstance(state, dict):  # of the Alertmanager's own API
        state = state.get("state")
    if absent(state):
        state = Lifecycle.CLOSED if ended is not None and ended <= received_at else Lifecycle.OPEN
    over = word_of(state) in ("RESOLVED", Lifecycle.CLOSED)
    fingerprint = raw.get("fingerprint")
    if not isinstance(fingerprint, str) or not re.fullmatch(r"[0-9a-zA-Z]{1,40}", fingerprint):
        fingerprint = _digest(labels)
    texts = (*(notes.get(name) for name in _SENTENCES), labels.get("alertname"))
    sentence = next((text for text in texts if isinstance(text, str)), None)
    return ours | {
        "id": f"am-{fingerprint}-{started}",
        "revision": 2 if over else 1,
        "state": state,
        "timestamp": ended if over and ended is not None else started,
        "explanation": {"sentence": sentence, "parameters": {"labels": labels}},
    }


def _names(labels: Mapping[str, Any]) -> str:
    return listed(sorted(labels)[:8], "and") if labels else "none"


def _moment(name: str, given: Any) -> int | None:
    return None if absent(given) or str(given).startswith(_NO_TIME) else time_of(name, given)


def _value(notes: Mapping[str, Any]) -> float | None:
    """`$value`, which many rules put into an annotation; it may be words, too."""
    try:
        return number_of("value", notes.get("value")) if "value" in notes else None
    except InvalidMessage:
        return None
