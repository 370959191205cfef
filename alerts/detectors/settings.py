"""Settings of the analysis: what may be changed of the detectors without changing their code.

A file of settings is TOML (`docs/settings.md`). `read_settings` reads one, `settings_of` a document that is parsed
already. Settings are immutable; `values` holds every one of them, defaults included, and `hash` identifies `values`.
"""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, Self, TypeVar

from alerts.detectors import cusum, ewma, mad, residual, volatility, volume, z_score
from alerts.detectors.calibration import USUAL_SIZES
from alerts.detectors.own import Found, installed, load_detector
from market.detectors import synchronized
from market.wire.messages import SEVERITIES, Method, Rank, Severity, interval_ms, interval_name
from market.wire.reasons import listed, shown
from market.wire.sectors import SectorMap
from market.wire.symbols import is_symbol

version: Final = 1
# The surge of volume that HIGH, CRITICAL, and CRITICAL out of nowhere need.
usual_surges: Final = (6.5, 10.0, 150.0)
# In place of a severity: none at all.
off: Final = "OFF"
_default: Final = "default"
_severities: Final = listed([*SEVERITIES, off])


class InvalidSettings(ValueError):
    """The settings cannot be used; the text says which one, what it is, and what is allowed."""


class Rule(NamedTuple):
    """One setting: its default (None: it has none), and how it is read. `read` raises `ValueError`."""

    default: Any
    allowed: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """Of one method. `threshold`: the |score| (of surges: the deviations) with a strength of 1. `memory`: its window or
    half-life in ms, or its number of samples."""

    enabled: bool
    threshold: float
    memory: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one analysis; `Settings()` are the defaults.

    `values`: all of them, as the tables of a file; `hash`: 16 hexadecimal digits that stand for them.
    """

    flat: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        given = {f"detectors.{name}": path for name, path in installed().items()} | dict(self.flat)
        usual = {key: rule.default for key, rule in rules().items() if rule.default is not None}
        for name, found in _detectors(given).items():
            usual |= {key: rule.default for key, rule in _own_rules(name, found).items()}
            given[f"detectors.{name}"] = {"path": found.path, "version": str(found.kind.version)}
        whole = usual | given
        object.__setattr__(self, "flat", MappingProxyType(dict(sorted(whole.items()))))

    @property
    def values(self) -> dict[str, Any]:
        nested: dict[str, Any] = {"version": version}
        for key, value in self.flat.items():
            *tables, name = _parts(key)
            table = nested
            for one in tables:
                table = table.setdefault(one, {})
            table[name] = value
        return nested

    @property
    def hash(self) -> str:
        return _digest(self.values)

    @property
    def learnt(self) -> dict[str, Any]:
        """Those that decide what a saved state means: with others, an analysis starts over."""
        return {key: value for key, value in self.flat.items() if _parts(key)[0] in ("methods", "market", "detectors")}

    @property
    def detectors(self) -> dict[str, Found]:
        """Detectors of one's own, by the names of their methods."""
        return _detectors(self.flat)

    def parameters(self, name: str) -> dict[str, Any]:
        """The parameters of a detector of one's own."""
        keys = {one: f"methods.{name}.{one}" for one in self.detectors[name].parameters}
        return {one: self.flat[key] for one, key in keys.items()}

    def is_enabled(self, name: str) -> bool:
        return bool(self.flat[f"methods.{name}.enabled"])

    def method(self, name: str) -> MethodSettings:
        values = {
            key.rpartition(".")[2]: value for key, value in self.flat.items() if key.startswith(f"methods.{name}.")
        }
        enabled, threshold = values.pop("enabled"), values.pop("threshold")
        [memory] = values.values()
        return MethodSettings(enabled, threshold, interval_ms(memory) if isinstance(memory, str) else memory)

    @property
    def budgets(self) -> dict[Severity, float]:
        """Alerts a day of that severity or above, over all symbols."""
        return {one: self.flat[f"budgets.{one}"] for one in SEVERITIES if f"budgets.{one}" in self.flat}

    @property
    def strengths(self) -> dict[Severity, float]:
        """The strengths from which a finding is LOW, MEDIUM, where no budget decides."""
        keys = {one: f"severities.{one}.strength" for one in (Severity.LOW, Severity.MEDIUM)}
        return {one: self.flat[key] for one, key in keys.items() if key in self.flat}

    @property
    def sizes(self) -> tuple[float, float]:
        """S / θ from which a move is HIGH, CRITICAL."""
        return self.flat["severities.HIGH.size"], self.flat["severities.CRITICAL.size"]

    @property
    def surges(self) -> tuple[float, float, float]:
        """The surge of volume that HIGH, CRITICAL, and CRITICAL out of nowhere need."""
        critical = "severities.CRITICAL"
        return self.flat["severities.HIGH.surge"], self.flat[f"{critical}.surge"], self.flat[f"{critical}.sudden_surge"]

    @property
    def movement(self) -> float:
        """The projected log return from which a move of the market is HIGH."""
        return float(self.flat["market.movement"])

    @property
    def sector_factor(self) -> float:
        """By how much more a sector has to depart than usual."""
        return float(self.flat["market.sector_factor"])

    @property
    def is_selective(self) -> bool:
        """Whether some symbol needs more than LOW."""
        return any(value != Severity.LOW for key, value in self.flat.items() if key.startswith("symbols."))

    def least(self, symbol: str) -> int:
        """The lowest rank of the alerts of a symbol; above every `Rank` if it has none."""
        given = self.flat.get(f"symbols.{symbol}", self.flat[f"symbols.{_default}"])
        return Rank.CRITICAL + 1 if given == off else int(Severity(given).rank)

    @property
    def sectors(self) -> SectorMap | None:
        """The map of the settings, in place of every other one; None if they have none."""
        coins: dict[str, list[str]] = {}
        for key, members in self.flat.items():
            kind, *name = _parts(key)
            for coin in members if kind == "sectors" else ():
                coins.setdefault(coin, []).append(name[0])
        if not coins:
            return None
        digest = hashlib.blake2b(json.dumps(coins, sort_keys=True).encode(), digest_size=4).hexdigest()
        return SectorMap("settings", digest, None, {coin: tuple(names) for coin, names in coins.items()})

    def with_budgets(self, alerts_per_day: Mapping[str, float]) -> Self:
        """With these budgets if the settings have none of their own. Raises `ValueError` for an unknown severity."""
        if self.budgets or not alerts_per_day:
            return self
        given = {f"budgets.{Severity(name).value}": float(count) for name, count in alerts_per_day.items()}
        return type(self)({**self.flat, **given})

    def changed(self, values: Mapping[str, Any]) -> Self:
        """With other values by dotted key, such as `methods.MAD.threshold`. Raises `InvalidSettings`."""
        return _fitting(
            type(self)({**self.flat, **{key: _checked(key, value, self.detectors) for key, value in values.items()}})
        )


def read_settings(path: Path) -> Settings:
    """The settings in a file. Raises `InvalidSettings`, which names the file."""
    try:
        return settings_of(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidSettings(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path}: this is not TOML: {error}") from None
    except InvalidSettings as error:
        raise InvalidSettings(f"{path}: {error}") from None


def settings_of(document: Mapping[str, Any]) -> Settings:
    """The settings of a parsed document. Raises `InvalidSettings`."""
    given = dict(document)
    found = given.pop("version", None)
    if found is None:
        raise InvalidSettings(f"version is missing; write version = {version}, before all tables")
    if type(found) is not int or found != version:
        raise InvalidSettings(f"version is {shown(found)}; this program reads version {version}")
    own = given.get("detectors", {})
    if not isinstance(own, dict):
        raise InvalidSettings(f"detectors is {shown(own)}; it must be a table like GAP = 'my_package.gap:Gap'")
    # As it was written, or as `values` has it.
    given["detectors"] = {name: one.get("path") if isinstance(one, dict) else one for name, one in own.items()}
    pairs = dict(_flat(given))
    named = {f"detectors.{name}": path for name, path in installed().items()} | pairs
    found = _detectors(named)
    return _fitting(Settings({key: _checked(key, value, found) for key, value in pairs.items()}))


SettingsT = TypeVar("SettingsT", bound=Settings)


def _fitting(settings: SettingsT) -> SettingsT:
    """The settings, if they go together. Raises `InvalidSettings`."""
    high, critical = settings.sizes
    if critical < high:
        raise InvalidSettings(
            f"severities.CRITICAL.size is {critical:g}; it must be at least severities.HIGH.size, which is {high:g}"
        )
    for one in settings.strengths:
        if one in settings.budgets:
            raise InvalidSettings(
                f"severities.{one}.strength and budgets.{one} both say how many {one} alerts there are; leave one out"
            )
    return settings


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What is different in two `Settings.flat` or `learnt`: `methods.MAD.threshold: 13.0, now 12.0`."""
    keys = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    changes = [f"{key}: {shown(before.get(key))}, now {shown(after.get(key))}" for key in keys[:5]]
    return "; ".join([*changes, *([f"and {len(keys) - 5} more"] if len(keys) > 5 else [])])


# --- What there is to set ---------------------------------------------------------------------------------------------


@cache
def rules() -> Mapping[str, Rule]:
    """Every setting by its dotted key, but for those of tables with keys of the user's own."""
    made: dict[str, Rule] = {}
    surges = (Method.VOLUME, Method.VOLATILITY)
    for method, threshold, memory in (
        (Method.Z_SCORE, z_score.THRESHOLD, {"window": _length("1d", "1h", "7d", whole="1h")}),
        (Method.MAD, mad.THRESHOLD, {"samples": _count(mad.SAMPLES, 32, 10_000)}),
        (Method.EWMA, ewma.THRESHOLD, {"half_life": _length("20m", "1m", "1d")}),
        (Method.CUSUM, cusum.THRESHOLD, {"half_life": _length("6h", "10m", "7d")}),
        (Method.VOLUME, volume.DEVIATIONS, {"samples": _count(volume.BUCKETS, 32, 10_000)}),
        (Method.VOLATILITY, volatility.DEVIATIONS, {"samples": _count(volatility.SAMPLES, 32, 10_000)}),
        (Method.RESIDUAL, residual.THRESHOLD, {"half_life": _length("30m", "1m", "1d")}),
    ):
        table = {
            "enabled": _switch(True),
            "threshold": _number(threshold, most=20.0 if method in surges else 1_000.0),
            **memory,
        }
        made |= {f"methods.{method}.{name}": rule for name, rule in table.items()}
    for severity in SEVERITIES:
        made[f"budgets.{severity}"] = _number(None, zero=True)
    made["severities.LOW.strength"] = made["severities.MEDIUM.strength"] = _number(None)
    for severity, size, surge in zip(SEVERITIES[2:], USUAL_SIZES, usual_surges[:2], strict=True):
        made[f"severities.{severity}.size"] = _number(size)
        made[f"severities.{severity}.surge"] = _number(surge, zero=True)
    made["severities.CRITICAL.sudden_surge"] = _number(usual_surges[2], zero=True)
    made["market.movement"] = _number(synchronized.THRESHOLD)
    made["market.sector_factor"] = _number(1.0)
    made[f"symbols.{_default}"] = Rule(Severity.LOW.value, _severities, _severity)
    return MappingProxyType(made)


def _number(default: float | None, *, zero: bool = False, most: float = 1e9) -> Rule:
    def read(given: Any) -> float:
        if type(given) not in (int, float) or not 0 <= given <= most or not (given or zero):
            raise ValueError
        return float(given)

    return Rule(default, f"a number from 0 to {most:,g}" if zero else f"a number above 0, up to {most:,g}", read)


def _count(default: int, least: int, most: int) -> Rule:
    def read(given: Any) -> int:
        if type(given) is not int or not least <= given <= most:
            raise ValueError
        return given

    return Rule(default, f"a whole number from {least} to {most}", read)


def _switch(default: bool) -> Rule:
    def read(given: Any) -> bool:
        if type(given) is not bool:
            raise ValueError
        return given

    return Rule(default, "true or false", read)


def _length(default: str, least: str, most: str, *, whole: str = "") -> Rule:
    def read(given: Any) -> str:
        if not isinstance(given, str) or not re.fullmatch(r"[1-9][0-9]{0,5}[smhd]", given):
            raise ValueError
        length = interval_ms(given)
        if not interval_ms(least) <= length <= interval_ms(most) or (whole and length % interval_ms(whole)):
            raise ValueError
        return interval_name(length)

    steps = f", in steps of {whole}" if whole else ""
    return Rule(default, f"a length from {least} to {most}{steps}, as text like {default!r}", read)


def _severity(given: Any) -> str:
    if not isinstance(given, str) or given not in (*SEVERITIES, off):
        raise ValueError
    return str(given)


def _coins(given: Any) -> list[str]:
    if not isinstance(given, list) or not given or not all(isinstance(one, str) and is_symbol(one) for one in given):
        raise ValueError
    return sorted(set(given))


def _detectors(flat: Mapping[str, Any]) -> dict[str, Found]:
    """Those that `detectors.NAME` name. Raises `InvalidSettings`."""
    found = {}
    for key, value in flat.items():
        kind, *names = _parts(key)
        if kind == "detectors" and len(names) == 1:
            try:
                found[names[0]] = load_detector(names[0], value["path"] if isinstance(value, dict) else value)
            except ValueError as error:
                raise InvalidSettings(f"{key} {error}") from None
    return found


def _own_rules(name: str, found: Found) -> dict[str, Rule]:
    own = {"enabled": _switch(True), "threshold": _number(float(found.kind.threshold), most=1_000.0)}
    own |= {one: _like(default) for one, default in found.parameters.items()}
    return {f"methods.{name}.{key}": rule for key, rule in own.items()}


def _like(default: Any) -> Rule:
    """A parameter of a detector of one's own: of the kind of its default."""
    if type(default) is bool:
        return _switch(default)

    def read(given: Any) -> Any:
        if type(default) is float and type(given) is int:
            return float(given)
        if type(given) is not type(default):
            raise ValueError
        return given

    kind = {int: "a whole number", float: "a number", str: "a text"}.get(type(default), f"like {default!r}")
    return Rule(default, kind, read)


def _checked(key: str, value: Any, detectors: Mapping[str, Found]) -> Any:
    kind, *names = _parts(key)
    if kind == "detectors" and len(names) == 1 and names[0] in detectors:
        return value
    own = _own_rules(names[0], detectors[names[0]]) if kind == "methods" and names and names[0] in detectors else {}
    if own and key not in own:
        raise InvalidSettings(f"{key} is not a setting of {names[0]}; expected one of {listed(own, 'and')}")
    rule = own.get(key) or _rule(key)
    if rule is None:
        _unknown(key)
    try:
        return rule.read(value)
    except ValueError:
        raise InvalidSettings(f"{key} is {shown(value)}; it must be {rule.allowed}") from None


def _rule(key: str) -> Rule | None:
    if rule := rules().get(key):
        return rule
    kind, *names = _parts(key)
    if kind == "symbols" and len(names) == 1 and is_symbol(names[0]):
        return Rule(None, _severities, _severity)
    if kind == "sectors" and len(names) == 1 and 0 < len(names[0]) <= 80 and names[0].isprintable():
        return Rule(None, 'a list of coins, like ["UNI", "AAVE"]', _coins)
    return None


def _unknown(key: str) -> NoReturn:
    kind, *names = _parts(key)
    if kind == "symbols" and names:
        raise InvalidSettings(f"{key}: {shown(names[0])} is not a symbol; expected one like BTCUSDT, or default")
    near = difflib.get_close_matches(key, rules(), n=3, cutoff=0.4)
    known = f"; did you mean {listed(near)}?" if near else f"; the tables are {listed(_tables(), 'and')}"
    raise InvalidSettings(f"{key} is not a setting{known}")


def _tables() -> list[str]:
    return sorted({key.partition(".")[0] for key in rules()} | {"sectors", "detectors"})


def _parts(key: str) -> list[str]:
    """The names of a dotted key; those of a sector may have dots themselves."""
    kind, _, rest = key.partition(".")
    return [kind, rest] if kind == "sectors" else key.split(".")


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
