"""The findings of several settings side by side: what only one finds, what one finds earlier, how often it is wrong."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from alerts.detectors.settings import InvalidSettings, Settings
from ingestion.backtest.arrow import kind_of
from ingestion.backtest.jobs import Result
from ingestion.backtest.lives import Life
from ingestion.backtest.scoring import EventStream, Score, pool
from market.wire.messages import Alert, Anomaly, SectorAnomaly, Severity

MOST_SHOWN = 10
MOST_VARIANTS = 200


@dataclass(frozen=True)
class Variant:
    """Settings under a name: the file's, and what a sweep changes in them."""

    name: str
    settings: Settings


@dataclass
class Difference:
    """Of two lists of anomalies. `later`: what both have, `ms` later in the second one (negative: earlier)."""

    only_first: list[Life]
    only_second: list[Life]
    later: list[tuple[Life, int]]

    @property
    def both(self) -> int:
        return len(self.later)

    @property
    def earlier_first(self) -> list[tuple[Life, int]]:
        return [(life, ms) for life, ms in self.later if ms > 0]

    @property
    def earlier_second(self) -> list[tuple[Life, int]]:
        return [(life, -ms) for life, ms in self.later if ms < 0]


def difference(first: Iterable[Life], second: Iterable[Life]) -> Difference:
    """Match anomalies of the same kind about the same symbol or sector whose times overlap, in order of time."""
    others: dict[tuple[str, ...], list[Life]] = {}
    for life in sorted(second, key=_opened):
        others.setdefault(subject(life.first), []).append(life)
    found = Difference([], [], [])
    for life in sorted(first, key=_opened):
        waiting = others.get(subject(life.first), [])
        match = next((other for other in waiting if _overlap(life, other)), None)
        if match is None:
            found.only_first.append(life)
        else:
            waiting.remove(match)
            found.later.append((life, _opened(match) - _opened(life)))
    found.only_second = sorted((life for lives in others.values() for life in lives), key=_opened)
    return found


def subject(anomaly: Anomaly) -> tuple[str, ...]:
    about = ""
    if isinstance(anomaly, Alert):
        about = f"{anomaly.symbol} {'part' if anomaly.incident else ''}"
    elif isinstance(anomaly, SectorAnomaly):
        about = anomaly.sector
    return kind_of(anomaly), str(anomaly.venue), about


def _opened(life: Life) -> int:
    return life.first.timestamp


def _overlap(one: Life, other: Life) -> bool:
    return _opened(one) <= other.last.detected_at and _opened(other) <= one.last.detected_at


def gravest(lives: Iterable[Life], most: int = MOST_SHOWN) -> list[Life]:
    """The most severe, in order of time."""
    chosen = sorted(lives, key=lambda life: (-life.peak.severity.rank, _opened(life)))[:most]
    return sorted(chosen, key=_opened)


def lives_of(results: Iterable[Result]) -> Iterator[Life]:
    return (life for result in results for life in result.lives.values())


def false_alarms(results: Iterable[Result]) -> Mapping[EventStream, Score]:
    """Of HIGH and above: the total of each stream that has any figure."""
    total = pool(score for result in results for score in result.scores)
    return {one.stream: one for one in total if one.is_total and one.severity is Severity.HIGH}


# --- Sweeps -----------------------------------------------------------------------------------------------------------


def swept(variants: Sequence[Variant], sweeps: Sequence[str]) -> list[Variant]:
    """Every combination of the values of all sweeps, for each of the variants.

    A sweep is `methods.MAD.threshold=10,13,16`. Raises `InvalidSettings`.
    """
    axes = [_axis(text) for text in sweeps]
    count = len(variants)
    for _, values in axes:
        count *= len(values)
    if count > MOST_VARIANTS:
        raise InvalidSettings(f"the sweep has {count:,} combinations; at most {MOST_VARIANTS} can be compared")
    made = []
    for variant in variants:
        for chosen in product(*(values for _, values in axes)):
            changes = dict(zip((key for key, _ in axes), chosen, strict=True))
            words = [f"{key.removeprefix('methods.')}={value}" for key, value in changes.items()]
            name = " ".join([*([variant.name] if len(variants) > 1 else []), *words])
            made.append(Variant(name, variant.settings.changed(changes)))
    return made


def _axis(text: str) -> tuple[str, list[object]]:
    key, sign, values = text.partition("=")
    if not sign or not values:
        raise InvalidSettings(f"--sweep {text}: write a setting and its values, like methods.MAD.threshold=10,13,16")
    return key.strip(), [_value(value.strip()) for value in values.split(",")]


def _value(text: str) -> object:
    """As TOML has it: a switch, a number, or text."""
    if text in ("true", "false"):
        return text == "true"
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
