"""Text of others for a terminal, a log or a page: nothing in it is executed where it is shown.

Terminals execute escape sequences (one writes to the clipboard), and marks of direction make text read as what it is
not. Anyone may publish, send a request or hand over a file.
"""

import re
from typing import Final

# C0 and C1 controls, marks and overrides of direction, invisible and separating characters, lone surrogates, tags.
_COMMANDS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_SAME: Final = {"\n": "\n", "\t": "\t"}


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with its control characters written out; `lines`: but for line breaks and tabs.

    >>> print(printable("rose \x1b]52;c;aGk=\x07 4 %"))
    rose \x1b]52;c;aGk=\x07 4 %
    """
    if text.isascii() and text.isprintable():
        return text
    return _COMMANDS.sub(lambda found: (lines and _SAME.get(found[0])) or _written(found[0]), text)


def controls(text: str) -> str:
    r"""The first control character of a text, written out; empty if it has none.

    >>> print(controls("a\x1b[2J"))
    \x1b
    >>> controls("Ünïcode 龙虾")
    ''
    """
    if text.isascii() and text.isprintable():
        return ""
    found = _COMMANDS.search(text)
    return _written(found[0]) if found else ""


# Of stores, whose addresses have no other `@`, a password may have any character, also one that should be encoded.
_CREDENTIALS: Final = re.compile(
    r"(?:(?<=nats://)|(?<=tls://)|(?<=redis://)|(?<=rediss://)|(?<=postgres://)|(?<=postgresql://))[^\s'\"]*@"
    r"|(?<=://)[^/\s@'\"]*@"
)


def without_credentials(text: str) -> str:
    """The text without what its addresses have before an `@`: names, passwords and tokens.

    >>> without_credentials("NATS_URL=nats://ann:s3cret@10.0.0.5:4222 does not answer")
    'NATS_URL=nats://10.0.0.5:4222 does not answer'
    >>> without_credentials("redis://:p@ss/word@10.0.0.5:6379/0")
    'redis://10.0.0.5:6379/0'
    """
    return _CREDENTIALS.sub("", text) if "@" in text else text


def is_unencoded(url: str) -> bool:
    """Whether the login of an address has a `/` or `#` as it is: all after it would be read as host and path.

    >>> [is_unencoded(f"postgres://u:{password}@10.0.0.5/x") for password in ("p@ss/w", "p%40ss%2Fw", "p/w", "p@ss")]
    [True, False, True, False]
    """
    return bool(re.match(r"[\w+.-]+://[^/?#]*[/#][^?]*@", url, re.DOTALL))


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode()
