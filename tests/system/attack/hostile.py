"""Changed inputs for attacks: bytes and JSON that are almost right (pure)."""

import copy
import json
import random
from collections.abc import Sequence
from typing import Any, Final

# What a handshake is changed with; `changed_bytes` puts it anywhere, as a line or in a line.
CHANGES: Final[Sequence[bytes]] = (
    b"\r\n", b"\n", b" ", b"\t", b":", b",", b";", b"\0", b"\x01", b"\x1b", b"\x7f", b"\x80", b"\xff", b'"', b"=",
    b"HTTP/1.0", b"HTTP/2.0", b"POST ", b"?a=%00", b"/../ws", b"upgrade", b"13", b"Upgrade: h2c\r\n",
    b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: Upgrade\r\n",
    b"Connection: close\r\n", b"Host: other\r\n", b"Origin: null\r\n", b"Sec-WebSocket-Version: 8\r\n",
    b"Sec-WebSocket-Protocol: a, b\r\n", b"Sec-WebSocket-Extensions: ;;\r\n", b"Expect: 100-continue\r\n",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"X: " + b"a" * 9_000 + b"\r\n",
    b"".join(b"X%d: 1\r\n" % number for number in range(150)),
)  # fmt: skip

_TEXTS: Final = (
    "", " ", "\0", "a\0b", "\x1b]52;c;aGk=\x07", "\u202e", "\ufffe", "龙虾USDT", "%s", "{0}", "'; DROP TABLE",
    "..", "<script>alert(1)</script>", "A" * 5_000, "HIGH", "CLOSED", "alerts", "NaN", "1e400", "9" * 400, "subscribe",
    "2024-05-01T12:00:00+99:99", "9999-12-31T23:59:59Z", "BTC/USDT:USDT-240628-60000-C", "a/b", "-",
)  # fmt: skip
_VALUES: Final[Sequence[Any]] = (
    *_TEXTS, None, True, False, 0, -1, 1, 0.5, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**300, 1e308,
    -0.0, 5e-324, [], {}, [[]], [None], {"": {}}, [0] * 2_000, ["A"] * 2_000, {f"k{n}": n for n in range(300)},
)  # fmt: skip
# Text that no encoder writes, in place of a value.
_RAW: Final = (
    b"NaN", b"Infinity", b"1e400", b"-", b"01", b"1" * 5_000, b"[" * 2_000, b'{"a":' * 2_000, b'"\\ud800"',
    b'"\\u0000"', b'"\xff"', b'"\xed\xa0\x80"', b"'a'", b"", b",", b"}", b"]", b"\0", b"tru", b'"a',
    b'{"a":1,"a":2}', b"\xef\xbb\xbf1",
)  # fmt: skip
_MARK: Final = "\ue000mark"


def changed_bytes(chance: random.Random, data: bytes, with_: Sequence[bytes]) -> bytes:
    """The bytes with one to three changes: a byte, a gap, a piece twice; lines and pieces of `with_`, if given."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(8 if with_ else 4)
        if kind == 0:
            data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[at + chance.choice((1, 1, 2, 8)) :]
        elif kind == 2:
            data = data[:at] + data[at : at + chance.choice((1, 4, 40))] + data[at:]
        elif kind == 3:
            flipped = data[at : at + 1]
            data = data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in flipped) + data[at + 1 :]
        elif kind == 4:
            data = data[:at] + chance.choice(with_) + data[at:]
        else:
            data = _with_other_lines(chance, data, with_)
    return data


def _with_other_lines(chance: random.Random, data: bytes, with_: Sequence[bytes]) -> bytes:
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    name, colon, value = lines[at].partition(b": ")
    kind = chance.randrange(5)
    if kind == 0:
        lines.insert(at, chance.choice(lines))
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        lines.insert(at, chance.choice(with_).removesuffix(b"\r\n"))
    else:
        odd = chance.choice(with_)
        values = (value.lower(), value.upper(), value + b" ", b" " + value, value + b",", b"," + value, b"")
        lines[at] = name + colon + chance.choice((*values, value + b";q=1", b'"%b"' % value, value + odd, odd + value))
    return b"\r\n".join(lines)


def changed_json(chance: random.Random, message: dict[str, Any]) -> bytes:
    """The message as JSON with one or two changes anywhere: another value, a key less or more, broken text."""
    message = copy.deepcopy(message)
    raw = b""
    for _ in range(chance.choice((1, 1, 2))):
        inside: Any = message
        while (deeper := [value for value in _values(inside) if value and isinstance(value, dict | list)]) and (
            chance.random() < 0.4
        ):
            inside = chance.choice(deeper)
        raw = _change(chance, inside) or raw
    data = json.dumps(message).encode()
    return data.replace(json.dumps(_MARK).encode(), raw or chance.choice(_RAW))


def _values(inside: Any) -> list[Any]:
    return list(inside.values()) if isinstance(inside, dict) else list(inside)


def _change(chance: random.Random, inside: Any) -> bytes:
    """Change an object or list in place; returns what stands for the mark in it, if it has one."""
    keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
    key: Any = chance.choice(keys) if keys else None
    kind = chance.randrange(6)
    if kind == 0 and keys:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[chance.choice(_TEXTS)] = copy.deepcopy(chance.choice(_VALUES))
    elif kind == 2 and keys:
        inside[key] = _MARK
        return chance.choice(_RAW)
    elif kind == 3 and keys:
        inside[key] = [inside[key]]
    elif keys:
        inside[key] = copy.deepcopy(chance.choice(_VALUES))
    return b""
