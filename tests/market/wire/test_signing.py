"""Signatures: every message of ours is recognised, and nothing else is."""

import hashlib
import hmac

from hypothesis import example, given
from hypothesis import strategies as st

from market.wire.signing import Verdict, derived, is_vouched, message_token, sign, verdict, vouch

OWN, OLD, OTHER = (derived(secret) for secret in ("the present key", "the old key", "of others"))
KEYS = {key.name: key for key in (OWN, OLD)}
SUBJECT, PAYLOAD = "alerts.BTCUSDT", b'{"id":"a1"}'


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1), st.binary(), st.integers(0, 2**63))
def test_what_is_signed_is_recognised_under_every_key_in_use(subject: str, payload: bytes, fence: int) -> None:
    for key, expected in ((OWN, Verdict.SIGNED), (OLD, Verdict.SIGNED), (OTHER, Verdict.UNKNOWN)):
        assert verdict(KEYS, sign(key, subject, payload, fence=fence), subject, payload) is expected


def test_whatever_is_changed_makes_it_wrong() -> None:
    header = sign(OWN, SUBJECT, PAYLOAD)
    version, name, _, mac = header.split(":")
    for changed in (
        (header, "alerts.ETHUSDT", PAYLOAD),
        (header, SUBJECT, PAYLOAD + b" "),
        (f"{version}:{name}:1:{mac}", SUBJECT, PAYLOAD),
        (f"{version}:{OLD.name}:0:{mac}", SUBJECT, PAYLOAD),
        (f"{version}:{name}:0:{mac.upper()}", SUBJECT, PAYLOAD),
        (f"{version}:{name}:0:{mac[:-1]}", SUBJECT, PAYLOAD),
        # No part moves into another.
        (header, SUBJECT + "\n{", PAYLOAD[1:]),
    ):
        assert verdict(KEYS, *changed) is Verdict.WRONG


@given(st.text())
@example(f"v1:{OWN.name}:{'1' * 5000}:00")
@example(f"v1:{OWN.name}:²:00")
@example(f"v1:{OWN.name}:0:\udcff")
def test_no_other_header_is_a_signature(header: str) -> None:
    assert verdict(KEYS, header, SUBJECT, PAYLOAD) in {Verdict.WRONG, Verdict.UNKNOWN, Verdict.UNSIGNED}


def test_a_later_version_is_not_wrong_but_unknown() -> None:
    assert verdict(KEYS, f"v2:{OWN.name}:whatever", SUBJECT, PAYLOAD) is Verdict.UNKNOWN
    assert verdict(KEYS, "", SUBJECT, PAYLOAD) is Verdict.UNSIGNED


def test_it_is_what_the_documentation_says() -> None:
    """RFC 5869 with an empty salt, and HMAC-SHA256: another program can check it."""
    root = hmac.new(bytes(32), b"the present key", hashlib.sha256).digest()
    key = hmac.new(root, b"crypto anomalies, signature of a message\x01", hashlib.sha256).digest()
    mac = hmac.new(key, b"v1\n7\nalerts.BTCUSDT\n" + PAYLOAD, hashlib.sha256).hexdigest()
    assert sign(OWN, SUBJECT, PAYLOAD, fence=7) == f"v1:{OWN.name}:7:{mac}"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1), st.binary())
def test_what_came_with_a_token_is_recognised_and_is_no_signature(subject: str, payload: bytes) -> None:
    header = vouch(OWN, subject, payload)
    assert is_vouched(KEYS, header, subject, payload)
    assert is_vouched(KEYS, vouch(OLD, subject, payload), subject, payload)
    wrong = (header + "0", header[:-1], vouch(OTHER, subject, payload), sign(OWN, subject, payload), "", "v1", "v2:x:y")
    assert not any(is_vouched(KEYS, one, subject, payload) for one in wrong)
    assert not is_vouched(KEYS, header, subject, payload + b" ")
    assert verdict(KEYS, header, subject, payload) is Verdict.WRONG
    name, mac = header.split(":")[1:]
    assert verdict(KEYS, f"v1:{name}:publisher:{mac}", subject, payload) is Verdict.WRONG


def test_a_message_id_is_the_same_again_and_another_under_another_key() -> None:
    assert message_token(OWN, "a1:1") == message_token(derived("the present key"), "a1:1")
    assert len({message_token(key, id) for key in (OWN, OLD) for id in ("a1:1", "a1:2")}) == 4
