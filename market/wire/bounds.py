"""What a message may hold at most, and no commands to a terminal in its texts. Pure.

Checked where messages come in, and not where stored ones are read again: rows of earlier versions are still shown.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from market.printable import controls
from market.wire.messages import Alert, Feed, MarketAnomaly, SectorAnomaly, StressIndex
from market.wire.reasons import refuse

# Bytes of JSON of a message; of a market anomaly besides its lists of symbols.
LARGEST: Final = 64 * 1024
# Bytes with the lists: the longest allowed of them have less than a third of it.
LARGEST_OF_ALL: Final = 1024 * 1024
SENTENCE: Final = 500
TEXT: Final = 80
PARAMETERS: Final = 16 * 1024
ROWS: Final = 100

_BREAKS: Final = re.compile(r"\s*[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]\s*")
_ALLOWED_IN_PARAMETERS: Final = str.maketrans("", "", "\t\n\r")


def check_size(payload: bytes, most: int = LARGEST) -> None:
    """Raise `InvalidMessage` for a message that is too large to be read at all."""
    if len(payload) > most:
        raise refuse(f"the message has {len(payload):,} bytes; at most {most:,} are allowed")


def check_alert(alert: Alert, payload: bytes) -> Alert:
    """The alert of a payload as it is stored: its sentence is on one line. Raises `InvalidMessage`."""
    explanation = alert.explanation
    sentence = explanation.sentence
    plain = _is_plain(payload)
    if not plain and not sentence.isprintable():
        sentence = _BREAKS.sub(" ", sentence.strip())
        _printable("explanation.sentence", sentence)
    _short("explanation.sentence", sentence, SENTENCE)
    for name, text in (
        ("window", explanation.window),
        ("detector", explanation.detector),
        ("version", explanation.version),
    ):
        if text:
            _short(f"explanation.{name}", text)
            _printable(f"explanation.{name}", text)
    for name, rows in (("methods", explanation.methods), ("escalations", explanation.escalations)):
        if len(rows) > ROWS:
            raise refuse(f"explanation.{name} has {len(rows)} rows; at most {ROWS} are allowed")
    if not plain:
        for text in _texts(explanation.parameters):
            if not text.isprintable():
                _printable("explanation.parameters", text.translate(_ALLOWED_IN_PARAMETERS))
    if len(payload) > PARAMETERS and (size := len(msgspec.json.encode(explanation.parameters))) > PARAMETERS:
        raise refuse(f"explanation.parameters has {size:,} bytes; at most {PARAMETERS:,} are allowed")
    if sentence is explanation.sentence:
        return alert
    return msgspec.structs.replace(alert, explanation=msgspec.structs.replace(explanation, sentence=sentence))


def check_market(anomaly: MarketAnomaly, size: int) -> None:
    """Raise `InvalidMessage` for a market anomaly of `size` bytes that is too large, or has texts that may not be."""
    if size > LARGEST:
        lists = [getattr(anomaly, name, ()) for name in ("affected_symbols", "changes_pct")]
        beside = size - sum(len(msgspec.json.encode(one)) for one in lists)
        if beside > LARGEST:
            raise refuse(
                f"the message has {beside:,} bytes beside its lists of symbols; at most {LARGEST:,} are allowed"
            )
    _short("window", anomaly.window)
    _printable("window", anomaly.window)
    if isinstance(anomaly, SectorAnomaly):
        _printable("sector", anomaly.sector)


def check_feed(feed: Feed) -> None:
    """Raise `InvalidMessage` for a reason that is no printable text."""
    if feed.reason is not msgspec.UNSET:
        _printable("reason", feed.reason)


def check_stress(index: StressIndex) -> None:
    """Raise `InvalidMessage` for a sector whose name is no printable text."""
    windows = () if index.windows is msgspec.UNSET else index.windows.values()
    lists = [() if index.sectors is msgspec.UNSET else index.sectors, *(window.sectors for window in windows)]
    for sector in {move.sector for moves in lists for move in moves}:
        _printable("sector", sector)


def _is_plain(payload: bytes) -> bool:
    """Whether no text of a message can have a control character, escaped or not; quicker than to look at each."""
    try:
        return b"\\" not in payload and payload.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _texts(value: Any) -> Iterable[str]:
    """Every text in dicts and lists, the names in them included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for one in value.values():
            if not isinstance(one, float | int):
                yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            if not isinstance(one, float | int):
                yield from _texts(one)


def _short(name: str, text: str, most: int = TEXT) -> None:
    if len(text) > most:
        raise refuse(f"{name} has {len(text):,} characters; at most {most} are allowed")


def _printable(name: str, text: str) -> None:
    if not text.isprintable() and (found := controls(text)):
        raise refuse(f"{name} has the control character {found}; leave it out")
