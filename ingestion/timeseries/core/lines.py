"""Points in InfluxDB's line protocol: `measurement,tag=value field=value time`, one a line, times in ns.

Source: InfluxData's documentation of line protocol in 2.7; 1.x and 3 read the same.
"""

from collections.abc import Iterable, Mapping
from typing import Final

Value = str | float | int | bool
# Backslashes stay as they are: outside of strings they escape only what stands here.
_ESCAPES: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})


def line(measurement: str, tags: Iterable[tuple[str, str]], fields: Mapping[str, Value], time_ns: int) -> str:
    """One point. Neither a tag nor a text may hold a line break, nor may a tag be empty or end in a backslash."""
    where = ",".join([measurement, *(f"{name}={value.translate(_ESCAPES)}" for name, value in tags)])
    return f"{where} {','.join([f'{name}={_literal(value)}' for name, value in fields.items()])} {time_ns}"


def _literal(value: Value) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value).lower() if isinstance(value, bool) else f"{value}i"
