"""The words of a message, for a lock screen: what, how much, over which window, how rare, since when."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from alerts.delivery.groups import Group, Part
from alerts.sentences import how_often, lead, publishers_words
from market.pages import label_of
from market.printable import printable
from market.sentences import change_of, headline, sentence, stress_reading
from market.templatetags.anomalies import grouped, percentage, rarity, signed, span
from market.wire.messages import (
    Alert,
    Anomaly,
    MarketAnomaly,
    MarketStress,
    Method,
    Rank,
    SourceKind,
    SynchronizedMovement,
)
from market.wire.times import moment

_NB: Final = "\N{NO-BREAK SPACE}"
_LONGEST_TITLE: Final = 150
_LONGEST_BODY: Final = 1_500
# Symbols named of an incident, and groups of a digest.
_SYMBOLS: Final = 5
_LINES: Final = 20
_DAY_MS: Final = 86_400_000
_PREFIXES: Final = {SourceKind.SIMULATED: "SIMULATED ", SourceKind.REPLAY: "REPLAY "}
_SURGES: Final[Mapping[str, str]] = {Method.VOLUME: "volume surge", Method.VOLATILITY: "volatility surge"}
_REASONS: Final = {
    "quiet": "during the quiet hours",
    "daily": "since the last daily digest",
    "rate": "beyond the messages a minute",
    "late": "while deliveries were stopped",
}


class Text(Struct, frozen=True):
    """A title, a body of some lines, and the path of the page that shows it; empty if there is none."""

    title: str
    body: str
    path: str = ""


def sentence_of(group: Group, at_ms: int, *, unanswered_ms: int = 0) -> Text:
    """The text of a group as it is at `at_ms`. `unanswered_ms`: it was not acknowledged for so long."""
    told = group.furthest if group.closed else group.named
    title = _line(f"{prefix(told)}{'Over: ' if group.closed else ''}{_what(group, told)}")
    lines = [f"Not acknowledged for {unanswered_ms // 60_000} min."] if unanswered_ms else []
    if group.part_of:
        title, lines = f"{title}, now part of an incident", ["Its incident has a message of its own."]
    lines += [_said(told), *_symbols(group, told)]
    if group.stress is not None and not (isinstance(told, MarketStress) or group.closed):
        lines.append(f"{stress_reading(group.stress)}.")
    if group.peak is not None and not group.closed:
        lines.append(f"Largest move so far:{_moved(change_of(group.peak), group.peak.window)}.")
    if often := _often(told):
        lines.append(f"{often[0].upper()}{often[1:]}.")
    lines.append(_since(group, at_ms))
    return Text(_cut(title, _LONGEST_TITLE), _cut("\n".join(filter(None, lines)), _LONGEST_BODY), path_of(group.named))


class Texts:
    """Texts of groups, shared by routes that follow the same messages: many people hear of one crash."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Text, tuple[object, ...]]] = {}

    def of(self, group: Group, at_ms: int) -> Text:
        """As `sentence_of`."""
        told = group.furthest if group.closed else group.named
        if len(group.parts) > 1 and not getattr(told, "changes_pct", None):
            return sentence_of(group, at_ms)  # it names the parts, which differ
        # What the text is made of: the identities of the messages, which are kept with it so that they stay theirs.
        messages = group.named, told, group.stress, group.peak
        rest = group.rank, group.opened_ms, group.closed, group.ended_ms, group.part_of, at_ms // _DAY_MS
        key = (*map(id, messages), *rest)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = sentence_of(group, at_ms), messages
        return known[0]


def digest(groups: Sequence[Group], reason: str, at_ms: int) -> Text:
    """The text of several groups, gravest first, each with its largest move. `reason`: why they were held."""
    count = len(groups)
    kinds = {prefix(group.named) for group in groups}
    title = f"{kinds.pop() if len(kinds) == 1 else ''}{grouped(count)} {'anomaly' if count == 1 else 'anomalies'} "
    ordered = sorted(groups, key=lambda group: (-group.rank, group.opened_ms, group.key))
    lines = [
        f"{clock(group.opened_ms, at_ms)} {prefix(group.named)}{_what(group, group.furthest)}"
        f"{', over' if group.closed else ''}"
        for group in ordered[:_LINES]
    ]
    if count > _LINES:
        lines.append(f"and {grouped(count - _LINES)} more")
    return Text(_cut(f"{title}{_REASONS[reason]}{_gravest(ordered)}", _LONGEST_TITLE), "\n".join(map(_line, lines)))


def _gravest(ordered: Sequence[Group]) -> str:
    """`, 3 of them CRITICAL`; empty if all are of one severity. Of groups, gravest first."""
    rank = ordered[0].rank
    count = sum(group.rank == rank for group in ordered)
    return f", {grouped(count)} of them {Rank(rank).name}" if rank >= 0 and count < len(ordered) else ""


def prefix(message: Anomaly) -> str:
    """`SIMULATED ` or `REPLAY ` before what is not live."""
    return "" if message.source is None else _PREFIXES.get(message.source, "")


def path_of(message: Anomaly) -> str:
    return f"/{'alerts' if isinstance(message, Alert) else 'market'}/{message.id}"


def clock(time_ms: int, at_ms: int) -> str:
    """`14:03 UTC`, with the date if it is not that of `at_ms`.

    >>> clock(1_621_425_600_000, 1_621_425_900_000), clock(1_621_425_600_000, 1_700_000_000_000)
    ('12:00 UTC', '2021-05-19 12:00 UTC')
    """
    time, at = moment(time_ms), moment(at_ms)
    return f"{time:%H:%M} UTC" if time.date() == at.date() else f"{time:%Y-%m-%d %H:%M} UTC"


def _what(group: Group, told: Anomaly) -> str:
    """`CRITICAL BTCUSDT −3.40 % in 5 min`; of many symbols how many, and the average change."""
    grade = Rank(group.rank).name if group.rank >= 0 else ""
    if not isinstance(told, Alert):
        return f"{grade} {_who(told)}{_moved(change_of(told), told.window)}"
    alert = told
    others = len(group.parts) - 1
    more = f" and {grouped(others)} more" if others > 0 else ""
    change = _moved(alert.change_pct, alert.explanation.window)
    if surge := _SURGES.get(alert.method):
        return f"{grade} {alert.symbol} {surge}{change and f', {change[1:]}'}{more}"
    return f"{grade} {alert.symbol}{change or f': {label_of(alert.method)} {signed(alert.score)}'}{more}"


def _who(market: MarketAnomaly) -> str:
    """`118 of 118 symbols`; of another market anomaly, or where they are not known, its kind."""
    if not isinstance(market, SynchronizedMovement) or not market.affected_symbols or market.average_change_pct is None:
        return headline(market)
    of = "" if market.universe is None else f"of {grouped(market.universe)} "
    count = len(market.affected_symbols)
    return f"{grouped(count)} {of}symbol{'s' * (count != 1 or bool(of))}"


def _moved(change: float | None, window: str | None) -> str:
    if change is None:
        return ""
    return f" {percentage(change)}{_NB}%" + (f" in {span(window)}" if window else "")


def _said(message: Anomaly) -> str:
    if not isinstance(message, Alert):
        return _line(sentence(message))
    words = publishers_words(message)
    return _line(f"{lead(message)} The publisher: “{words}”" if words else lead(message))


def _symbols(group: Group, told: Anomaly) -> list[str]:
    """The symbols that moved most: of those that a market anomaly names with their changes, else of the parts."""
    moves = _named_moves(told)
    if group.market is not None and not moves:
        parts = [part for part in group.parts.values() if part.symbol]
        moves = [part for part in parts if not part.closed] or parts
    if not moves:
        return []
    moves.sort(key=lambda part: (-abs(part.change_pct or 0), part.symbol))
    shown = ", ".join(
        part.symbol if part.change_pct is None else f"{part.symbol} {percentage(part.change_pct)}{_NB}%"
        for part in moves[:_SYMBOLS]
    )
    more = f" and {grouped(len(moves) - _SYMBOLS)} more" if len(moves) > _SYMBOLS else ""
    return [f"Most: {shown}{more}."]


def _named_moves(market: Anomaly) -> list[Part]:
    """The symbols that a synchronized movement names with their changes."""
    if not isinstance(market, SynchronizedMovement) or not market.changes_pct:
        return []
    return [
        Part(revision=1, signed=False, about=[], rank=0, up=change > 0, closed=False, symbol=symbol, change_pct=change)
        for symbol, change in zip(market.affected_symbols, market.changes_pct, strict=True)
    ]


def _often(message: Anomaly) -> str:
    return how_often(message) if isinstance(message, Alert) else rarity(message.rarity_days)


def _since(group: Group, at_ms: int) -> str:
    named = group.named
    where = f" on {named.venue}" if named.venue else ""
    if group.closed:
        ended_ms = group.ended_ms or named.detected_at
        return f"From {clock(group.opened_ms, at_ms)} to {clock(ended_ms, at_ms)}{where}."
    return f"Since {clock(group.opened_ms, at_ms)}{where}."


def _line(text: str) -> str:
    return printable(" ".join(text.split(" ")))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
