"""Compares a pin with the present: what was removed or changed. Additions are no difference."""

from collections.abc import Collection, Iterator
from typing import Any


def differences(pinned: Any, present: Any, path: str = "") -> Iterator[str]:
    """One sentence for everything of `pinned` that `present` lacks or has otherwise.

    Objects may have more keys and lists more items than pinned; the order of a list does not count.

    >>> list(differences({"a": 1, "b": ["x", "y"]}, {"b": ["y", "z"], "c": 2}))
    ['a: removed (was 1)', "b: 'x' removed"]
    """
    if isinstance(pinned, dict) and isinstance(present, dict):
        for key, value in pinned.items():
            place = f"{path} › {key}" if path else key
            if key in present:
                yield from differences(value, present[key], place)
            else:
                yield f"{place}: removed (was {_short(value)})"
    elif isinstance(pinned, list) and isinstance(present, list):
        yield from (f"{path}: {item!r} removed" for item in pinned if item not in present)
    elif pinned != present:
        yield f"{path}: was {_short(pinned)}, is {_short(present)}"


def lost(old: Any, new: Any, path: str = "", *, unstable: Collection[str] = ()) -> Iterator[str]:
    """One sentence for every key and value of the message `old` that `new` lacks or has otherwise.

    Objects may have more keys. Lists are equal item by item. Keys in `unstable` are there, whatever their values.

    >>> list(lost({"a": [1, 2], "b": 3}, {"a": [2, 1], "b": 3, "c": 4}))
    ['a[0]: was 1, is 2', 'a[1]: was 2, is 1']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            place = f"{path}.{key}" if path else key
            if key not in new:
                yield f"{place}: missing (was {_short(value)})"
            elif key not in unstable:
                yield from lost(value, new[key], place, unstable=unstable)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from lost(before, after, f"{path}[{index}]", unstable=unstable)
    elif old != new or isinstance(old, bool) is not isinstance(new, bool):
        yield f"{path}: was {_short(old)}, is {_short(new)}"


def additions(pinned: Any, present: Any) -> int:
    """How many keys and items `present` has beside those of `pinned`."""
    if isinstance(pinned, dict) and isinstance(present, dict):
        return sum(1 if key not in pinned else additions(pinned[key], value) for key, value in present.items())
    if isinstance(pinned, list) and isinstance(present, list):
        return sum(item not in pinned for item in present)
    return 0


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"
