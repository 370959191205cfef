"""From bytes to messages, of any publisher.

`decode_alert` and `decode_market` take a message from anybody: canonical ones pass in about a microsecond, foreign
shapes are normalised first (`market.wire.foreign`), and what still does not fit raises `InvalidMessage` with the
reason in words. `null`, and `NaN` and `Infinity` as Python writes them, mean that a field is absent. What could mean
two things is refused.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, cast

import msgspec

from market.wire.bounds import LARGEST_OF_ALL, check_alert, check_feed, check_market, check_size, check_stress
from market.wire.foreign import UNREADABLE, alert_fields, drop_strange_source, market_fields, object_of
from market.wire.messages import (
    FLOW,
    Alert,
    Anomaly,
    CandleBatch,
    Count,
    Feed,
    MarketAnomaly,
    StressIndex,
    interval_ms,
)
from market.wire.methods import accepted
from market.wire.reasons import Constant, converted, listed, refuse, wrong
from market.wire.symbols import is_symbol
from market.wire.times import moment
from market.wire.values import time_ms as time_ms

DEEPEST: Final = 16
# How far a message may be ahead of its arrival, besides one interval: clocks differ.
MOST_AHEAD_MS: Final = 60_000

_alert_decoder: Final = msgspec.json.Decoder(Alert)
_market_decoder: Final = msgspec.json.Decoder(MarketAnomaly)
_batch_decoder: Final = msgspec.json.Decoder(CandleBatch)
_feed_decoder: Final = msgspec.json.Decoder(Feed)
_stress_decoder: Final = msgspec.json.Decoder(StressIndex)


def decode_batch(payload: bytes) -> CandleBatch:
    """Candles of any publisher, in the canonical shape. Raises `InvalidMessage`."""
    try:
        batch = _batch_decoder.decode(payload)
    except UNREADABLE:
        fields = _own_fields(payload)
        drop_strange_source(fields)
        _drop_strange_flow(fields)
        batch = converted(fields, CandleBatch)
    try:
        _check(batch.symbols)
    except msgspec.ValidationError as error:
        raise refuse(f"symbols: {error}") from error
    return batch


def _drop_strange_flow(fields: dict[str, Any]) -> None:
    """`trades` and `taker_buy` were added later: a publisher that means something else by them is still accepted."""
    symbols = fields.get("symbols")
    for name, kind in zip(FLOW, (list[Count | None], list[Annotated[float, msgspec.Meta(ge=0)] | None]), strict=True):
        try:
            known = isinstance(symbols, list) and len(msgspec.convert(fields.get(name), kind)) == len(symbols)
        except msgspec.ValidationError:
            known = False
        if not known:
            fields.pop(name, None)


def _check(symbols: Sequence[str]) -> None:
    """Raise `msgspec.ValidationError` for a symbol that is none by more than the pattern says."""
    if not "".join(symbols).isascii() and (wrong := next((one for one in symbols if not is_symbol(one)), None)):
        raise msgspec.ValidationError(f"symbol {wrong!r} is not spelt in capital letters and digits")


def decode_feed(payload: bytes) -> Feed:
    """The state of a feed, in the canonical shape. Raises `InvalidMessage`."""
    check_size(payload)
    try:
        feed = _feed_decoder.decode(payload)
    except UNREADABLE:
        feed = cast(Feed, converted(_own_fields(payload), Feed))
    check_feed(feed)
    return feed


def decode_stress(payload: bytes) -> StressIndex:
    """A stress index, in the canonical shape. Raises `InvalidMessage`."""
    check_size(payload)
    try:
        index = _stress_decoder.decode(payload)
    except UNREADABLE:
        index = cast(StressIndex, converted(_own_fields(payload), StressIndex))
    check_stress(index)
    return index


def _own_fields(payload: bytes) -> dict[str, Any]:
    """The fields of a message that has to be in our own shape; null is absent, and NaN is a value of no field."""
    return {name: value for name, value in object_of(payload, Constant).items() if value is not None}


def decode_alert(payload: bytes, *, received_at: int, subject_token: str = "", foreign: bool = False) -> Alert:
    """An alert from any publisher.

    `received_at` (epoch ms) stands in for missing times; pass the broker's own time of the message so that a second
    delivery decodes to the same alert. `subject_token` is the part of the subject after `alerts.`: it names the symbol
    of a message that does not. A `received_at` of 0: the message is a stored one, which was checked by the rules of its
    time (`market.wire.bounds` has today's). `foreign`: it is of another publisher, so it has no `source` and
    no `settings`, whatever it says. Raises `InvalidMessage`.
    """
    if received_at:
        check_size(payload)
    try:
        alert: Alert = _alert_decoder.decode(payload)
        _check((alert.symbol,))
    except UNREADABLE:
        alert = converted(alert_fields(payload, received_at, subject_token), Alert, strict=False)
    if foreign:
        _refuse_strange_methods(alert)
    if foreign and (alert.source is not None or alert.settings is not None):
        alert = msgspec.structs.replace(alert, source=None, settings=None)
    if alert.source is None:
        _refuse_future(alert, received_at)
    # The one field that may hold anything: it has to fit into a database and a browser too.
    if _deeper(alert.explanation.parameters, DEEPEST):
        raise refuse(f"explanation.parameters is nested too deep; {DEEPEST} levels are allowed")
    return check_alert(alert, payload) if received_at else alert


def _refuse_strange_methods(alert: Alert) -> None:
    """Raise `InvalidMessage` for a method that is neither ours nor listed by the operator."""
    for name, method in (
        ("method", alert.method),
        *((f"explanation.methods[{place}].method", one.method) for place, one in enumerate(alert.explanation.methods)),
    ):
        if method not in accepted():
            raise wrong(name, method, listed(accepted()))


def decode_market(payload: bytes, *, received_at: int, subject_token: str = "", foreign: bool = False) -> MarketAnomaly:
    """A market anomaly from any publisher; see `decode_alert`. `subject_token` names the type of one that does not."""
    if received_at:
        check_size(payload, LARGEST_OF_ALL)
    try:
        anomaly = cast(MarketAnomaly, _market_decoder.decode(payload))
        _check(getattr(anomaly, "affected_symbols", ()))
    except UNREADABLE:
        anomaly = converted(market_fields(payload, received_at, subject_token), MarketAnomaly, strict=False)
    if foreign and (anomaly.source is not None or anomaly.settings is not None):
        anomaly = msgspec.structs.replace(anomaly, source=None, settings=None)
    if anomaly.source is None:
        _refuse_future(anomaly, received_at)
    if received_at:
        check_market(anomaly, len(payload))
    return anomaly


def _refuse_future(anomaly: Anomaly, received_at: int) -> None:
    """Raise `InvalidMessage` for a foreign message of a time that was not yet when it arrived.

    Foreign is what names no `source`: our own engine's messages have the time of their venue, whose clock may be ahead.
    A `received_at` of 0 is no time: what is stored is read again.
    """
    if not received_at:
        return
    interval = anomaly.interval if isinstance(anomaly, Alert) else "1m"
    ahead_ms = anomaly.timestamp - received_at
    if ahead_ms > MOST_AHEAD_MS + interval_ms(interval):
        raise refuse(_ahead(anomaly.timestamp, ahead_ms))


def decode_anomaly(subject: str, payload: bytes, *, received_at: int, foreign: bool = False) -> Anomaly:
    """An alert or a market anomaly, by its NATS subject; see `decode_alert`. Raises `InvalidMessage`."""
    kind, _, token = subject.partition(".")
    decode = decode_alert if kind == "alerts" else decode_market
    return decode(payload, received_at=received_at, subject_token=token, foreign=foreign)


def _ahead(timestamp: int, ahead_ms: int) -> str:
    """The reason for which a time is refused. Times without a zone are read as UTC."""
    time = moment(timestamp).strftime("%Y-%m-%dT%H:%M:%SZ")
    ahead = f"timestamp {time} is {_length(ahead_ms)} ahead of its arrival"
    # Zones are whole quarters of an hour, up to UTC+14; what was sent may have been on its way for some minutes.
    quarters = round(ahead_ms / 900_000)
    if 2 <= quarters <= 56:
        zone = f"+{quarters // 4:02}:{quarters % 4 * 15:02}"
        return (
            f"{ahead}: local time without its zone? A time without a zone is read as UTC; "
            f"write the zone, like 2024-05-01T12:00:00{zone}, or send UTC"
        )
    return f"{ahead}; check the publisher's clock and its unit of time"


def _length(milliseconds: int) -> str:
    minutes = milliseconds / 60_000
    if minutes < 60:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.3g} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"


def _deeper(value: Any, levels: int) -> bool:
    """Whether dicts and lists are nested deeper than that."""
    match value:
        case dict():
            inner: Iterable[Any] = value.values()
        case list():
            inner = value
        case _:
            return False
    return not levels or any(_deeper(one, levels - 1) for one in inner)
