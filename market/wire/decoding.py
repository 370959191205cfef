"""From bytes to messages, of any publisher.

`decode_alert` and `decode_market` take a message from anybody: canonical ones pass in about a microsecond, foreign
shapes are normalised first (`market.wire.foreign`), and what still does not fit raises `InvalidMessage` with the
reason in words. `null`, and `NaN` and `Infinity` as Python writes them, mean that a field is absent. What could mean
two things is refused.
"""

from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec

from market.wire.foreign import UNREADABLE, fields_of, normalise_alert, normalise_market
from market.wire.messages import (
    Alert,
    Anomaly,
    CandleBatch,
    Feed,
    InvalidMessage,
    MarketAnomaly,
    StressIndex,
    interval_ms,
)
from market.wire.values import time_ms as time_ms

DEEPEST: Final = 16
# How far a message may be ahead of its arrival, besides one interval: clocks differ.
MOST_AHEAD_MS: Final = 60_000


class _BatchOfOthers(CandleBatch, frozen=True, kw_only=True):
    """Candles whose `source` is none of ours: the field was added later, and may hold anything."""

    source: Any = None


_alert_decoder: Final = msgspec.json.Decoder(Alert)
_market_decoder: Final = msgspec.json.Decoder(MarketAnomaly)
_batch_decoder: Final = msgspec.json.Decoder(CandleBatch)
_batch_of_others_decoder: Final = msgspec.json.Decoder(_BatchOfOthers)
_feed_decoder: Final = msgspec.json.Decoder(Feed)
_stress_decoder: Final = msgspec.json.Decoder(StressIndex)


def decode_batch(payload: bytes) -> CandleBatch:
    """Candles of any publisher, in the canonical shape. Raises `InvalidMessage`."""
    try:
        return _batch_decoder.decode(payload)
    except UNREADABLE as error:
        try:
            others = _batch_of_others_decoder.decode(payload)
            return CandleBatch(**{name: getattr(others, name) for name in others.__struct_fields__ if name != "source"})
        except UNREADABLE:
            raise InvalidMessage(str(error)) from error


def decode_feed(payload: bytes) -> Feed:
    try:
        return _feed_decoder.decode(payload)
    except UNREADABLE as error:
        raise InvalidMessage(str(error)) from error


def decode_stress(payload: bytes) -> StressIndex:
    try:
        return _stress_decoder.decode(payload)
    except UNREADABLE as error:
        raise InvalidMessage(str(error)) from error


def decode_alert(payload: bytes, *, received_at: int, subject_token: str = "") -> Alert:
    """An alert from any publisher.

    `received_at` (epoch ms) stands in for missing times; pass the broker's own time of the message so that a second
    delivery decodes to the same alert. `subject_token` is the part of the subject after `alerts.`: it names the symbol
    of a message that does not. Raises `InvalidMessage`.
    """
    try:
        alert: Alert = _alert_decoder.decode(payload)
    except UNREADABLE:
        alert = _convert(normalise_alert(fields_of(payload), received_at, subject_token), Alert)
        _refuse_future(alert, received_at)
    # The one field that may hold anything: it has to fit into a database and a browser too.
    if _deeper(alert.explanation.parameters, DEEPEST):
        raise InvalidMessage(f"explanation.parameters: nested more than {DEEPEST} levels deep")
    return alert


def decode_market(payload: bytes, *, received_at: int, subject_token: str = "") -> MarketAnomaly:
    """A market anomaly from any publisher; see `decode_alert`. `subject_token` names the type of one that does not."""
    try:
        anomaly = cast(MarketAnomaly, _market_decoder.decode(payload))
    except UNREADABLE:
        fields = normalise_market(fields_of(payload), received_at, subject_token)
        anomaly = _convert(fields, MarketAnomaly)
        _refuse_future(anomaly, received_at)
    return anomaly


def _refuse_future(anomaly: Anomaly, received_at: int) -> None:
    """Raise `InvalidMessage` for a foreign message of a time that was not yet when it arrived.

    Not of messages in the canonical shape: our own engine's have the time of their venue, whose clock may be ahead. A
    `received_at` of 0 is no time: what is stored is read again.
    """
    if not received_at:
        return
    interval = anomaly.interval if isinstance(anomaly, Alert) else "1m"
    ahead_ms = anomaly.timestamp - received_at
    if ahead_ms > MOST_AHEAD_MS + interval_ms(interval):
        raise InvalidMessage(_ahead(anomaly.timestamp, ahead_ms))


def decode_anomaly(subject: str, payload: bytes, *, received_at: int) -> Anomaly:
    """An alert or a market anomaly, by its NATS subject; see `decode_alert`. Raises `InvalidMessage`."""
    kind, _, token = subject.partition(".")
    decode = decode_alert if kind == "alerts" else decode_market
    return decode(payload, received_at=received_at, subject_token=token)


def _ahead(timestamp: int, ahead_ms: int) -> str:
    """The reason for which a time is refused. Times without a zone are read as UTC."""
    text = f"timestamp {timestamp} is {ahead_ms / 60_000:.0f} min after it arrived"
    hours = ahead_ms / 3_600_000
    if 0.4 < hours < 14.5:
        return f"{text}: times without a zone are UTC; write the zone, like 2024-05-01T12:00+09:00"
    return f"{text}: check the clock and the unit of the publisher"


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


def _convert(fields: dict[str, Any], kind: Any) -> Any:
    try:
        return msgspec.convert(fields, kind, strict=False)
    except UNREADABLE as error:
        raise InvalidMessage(str(error)) from error
