"""Signatures of the messages that this installation publishes: an HMAC in a NATS header.

    Anomaly-Signature: v1:<key>:<fence>:<mac>

`v1` is the version. `key` names the key, so that a reader with several keys knows which to check. `fence` is a fencing
number: 0 without a lease (`ingestion.stream.leases`). `mac` is HMAC-SHA256 in hexadecimal over version, fence, subject
and payload. The payload is signed as a whole: if it is an array, with all its items.

A message that came over HTTP with a token that may publish is not ours, but we know who let it in:

    Anomaly-Publisher: v1:<key>:<mac>

The keys follow from `SECRET_KEY` by HKDF (RFC 5869, SHA-256, no salt), each for one purpose. Pure.
"""

import hmac
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

HEADER: Final = "Anomaly-Signature"
PUBLISHER: Final = "Anomaly-Publisher"
VERSION: Final = "v1"
_DIGEST: Final = "sha256"
_NAME_BYTES: Final = 6
_TOKEN_BYTES: Final = 12
# Longer than any fencing number; a header may hold anything.
_LONGEST_FENCE: Final = 20
# Stands where a signature has its fencing number, which it is not.
_VOUCHED: Final = "publisher"


class Key(NamedTuple):
    """The keys derived from one secret, and their public name."""

    name: str
    signing: bytes
    message_ids: bytes


class Verdict(Enum):
    """What a signature says about a message.

    `UNKNOWN`: it cannot be checked, because its key or version is unknown. `WRONG`: it is no signature of this message.
    """

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    UNKNOWN = "unknown"
    WRONG = "wrong"


def derived(secret: str) -> Key:
    """The keys that follow from a secret."""
    root = hmac.digest(b"\0" * 32, secret.encode(), _DIGEST)
    return Key(
        name=_expanded(root, "name of the key")[:_NAME_BYTES].hex(),
        signing=_expanded(root, "signature of a message"),
        message_ids=_expanded(root, "message id"),
    )


def _expanded(root: bytes, purpose: str) -> bytes:
    return hmac.digest(root, f"crypto anomalies, {purpose}".encode() + b"\x01", _DIGEST)


def sign(key: Key, subject: str, payload: bytes, *, fence: int = 0) -> str:
    """The value of the header for a message on this subject."""
    return f"{VERSION}:{key.name}:{fence}:{_mac(key, str(fence), subject, payload)}"


def verdict(keys: Mapping[str, Key], header: str, subject: str, payload: bytes) -> Verdict:
    """What the header says about a message; `keys` are those to check with, by their names."""
    if not header:
        return Verdict.UNSIGNED
    version, *rest = header.split(":")
    if version != VERSION and version[:1] == "v" and version[1:].isdecimal():
        return Verdict.UNKNOWN
    if version != VERSION or len(rest) != 3:
        return Verdict.WRONG
    name, fence, mac = rest
    if not (fence.isascii() and fence.isdecimal() and len(fence) <= _LONGEST_FENCE):
        return Verdict.WRONG
    key = keys.get(name)
    if key is None:
        return Verdict.UNKNOWN
    expected = _mac(key, fence, subject, payload).encode()
    right = hmac.compare_digest(expected, mac.encode(errors="replace"))
    return Verdict.SIGNED if right else Verdict.WRONG


def fence_of(header: str) -> int:
    """The fencing number in a header that `verdict` has found to be signed."""
    return int(header.split(":")[2])


def vouch(key: Key, subject: str, payload: bytes) -> str:
    """The value of `PUBLISHER` for a message that came with a token that may publish."""
    return f"{VERSION}:{key.name}:{_mac(key, _VOUCHED, subject, payload)}"


def is_vouched(keys: Mapping[str, Key], header: str, subject: str, payload: bytes) -> bool:
    """Whether a holder of one of these keys says that the message came with a token that may publish."""
    version, _, rest = header.partition(":")
    name, _, mac = rest.partition(":")
    if version != VERSION or name not in keys:
        return False
    expected = _mac(keys[name], _VOUCHED, subject, payload).encode()
    return hmac.compare_digest(expected, mac.encode(errors="replace"))


def message_token(key: Key, message_id: str) -> str:
    """What makes a `Nats-Msg-Id` one that only holders of the key know before it is published."""
    return hmac.digest(key.message_ids, message_id.encode(), _DIGEST)[:_TOKEN_BYTES].hex()


def _mac(key: Key, fence: str, subject: str, payload: bytes) -> str:
    # A subject has no line break, and a fence digits only: no two messages have the same text.
    text = f"{VERSION}\n{fence}\n{subject}\n".encode(errors="surrogateescape") + payload
    return hmac.digest(key.signing, text, _DIGEST).hex()
