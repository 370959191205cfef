"""Names of methods: ours, and those of detectors of one's own.

A name of one's own is `[A-Z][A-Z0-9_]{1,30}`. It is taken from what this installation signed, and from anybody if the
operator lists it (`OWN_METHODS`). Filters know the listed ones, and those of anomalies that this process has seen.
"""

import re
from collections.abc import Iterable
from typing import Final

from market.wire.messages import METHOD_NAME, Method

_MOST_SEEN: Final = 100
_ours: Final = tuple(map(str, Method))
_listed: list[str] = []
_seen: dict[str, None] = {}


def is_method_name(text: object) -> bool:
    """Whether a method may have this name."""
    return isinstance(text, str) and re.fullmatch(METHOD_NAME, text) is not None


def list_methods(names: Iterable[str]) -> None:
    """Take these names from everybody, from now on. Raises `ValueError` for one that is not a name."""
    names = list(names)
    if wrong := [name for name in names if not is_method_name(name)]:
        raise ValueError(f"{wrong[0]!r}: a method's name has 2 to 31 capital letters, digits and _, like GAP")
    _listed[:] = [name for name in names if name not in _ours]


def accepted() -> tuple[str, ...]:
    """The names that every publisher may use."""
    return (*_ours, *_listed)


def see(name: str) -> None:
    """Note the method of an anomaly that was accepted, for filters. At most 100 names are kept."""
    if name not in _ours and len(_seen) < _MOST_SEEN and is_method_name(name):
        _seen[name] = None


def known() -> tuple[str, ...]:
    """The names that filters know."""
    return tuple(dict.fromkeys((*_ours, *_listed, *_seen)))
