"""Several messages in one: arrays, wrappers, webhooks."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.wire.messages import InvalidMessage
from market.wire.unpacking import MOST_ITEMS, decode_items, items

ONE: Final = {"symbol": "BTCUSDT", "severity": "HIGH", "score": 5, "method": "MAD", "timestamp": 1_700_000_000}
OTHER: Final = ONE | {"symbol": "ETHUSDT"}
COMMON: Final = {"commonLabels": {"job": "x", "severity": "low"}, "commonAnnotations": {"summary": "s"}}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (ONE, [ONE]),
        ([ONE, OTHER], [ONE, OTHER]),
        ([ONE], [ONE]),
        ({"data": ONE}, [ONE]),
        ({"data": [ONE, 5, OTHER]}, [ONE, 5, OTHER]),
        ({"type": "alert", "channel": "alerts", "offset": 6, "data": ONE}, [ONE]),
        ([{"data": ONE}, OTHER], [ONE, OTHER]),
        ({"severity": None, "data": ONE}, [ONE]),
        # It names a severity: a message with data of its own.
        (ONE | {"data": {"more": 1}}, [ONE | {"data": {"more": 1}}]),
        ({"Level": "x", "data": [ONE]}, [{"Level": "x", "data": [ONE]}]),
        # Nothing to unpack.
        ({"data": "text"}, [{"data": "text"}]),
        ({"alerts": 3}, [{"alerts": 3}]),
        ({"alerts": [1, 2]}, [{"alerts": [1, 2]}]),
        ("[]", ["[]"]),
        # What a webhook has in common is each alert's, unless it says otherwise.
        (
            {"alerts": [{"labels": {"severity": "high"}}, {"status": "firing"}], **COMMON},
            [
                {"labels": {"job": "x", "severity": "high"}, "annotations": {"summary": "s"}},
                {"status": "firing", "labels": {"job": "x", "severity": "low"}, "annotations": {"summary": "s"}},
            ],
        ),
        ({"alerts": [{"labels": 7}], **COMMON}, [{"labels": 7, "annotations": {"summary": "s"}}]),
        ({"alerts": [{"a": 1}], "commonLabels": {}}, [{"a": 1}]),
    ],
)
def test_items_of_a_payload(message: Any, found: list[Any]) -> None:
    for indent in (None, 1):
        assert [json.loads(part) for part in items(json.dumps(message, indent=indent).encode())] == found


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[]", "a list without items"),
        (b' {"data": []}', "a list without items"),
        (b"[1, 2", "not JSON"),
        (json.dumps([ONE] * (MOST_ITEMS + 1)).encode(), "has 501 items; at most 500"),
        (b'{"data": {}, "alerts": [{}]}', 'both "data" and "alerts"'),
    ],
)
def test_what_cannot_be_unpacked_is_refused_as_a_whole(payload: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        items(payload)
    (only,) = decode_items("alerts.X", payload, received_at=1)
    assert reason in only.reason
    assert (only.payload, only.item) == (payload, None)


def test_a_bad_item_is_refused_alone() -> None:
    bad = ONE | {"severity": "dreadful"}
    found = decode_items("alerts.X", json.dumps([ONE, bad, OTHER]).encode(), received_at=1_700_000_000_000)
    assert [part.anomaly and part.anomaly.severity for part in found] == ["HIGH", None, "HIGH"]
    assert [part.item for part in found] == [0, 1, 2]
    assert found[1].reason.startswith("item 2 of 3: severity")
    assert json.loads(found[1].payload) == bad


def test_a_message_of_one_has_no_item() -> None:
    for message in (ONE, [ONE], {"data": ONE}):
        (only,) = decode_items("alerts.X", json.dumps(message).encode(), received_at=1_700_000_000_000)
        assert only.item is None
        assert only.anomaly is not None


def test_nan_as_python_writes_it_is_null() -> None:
    payload = json.dumps([ONE | {"price": float("nan")}, {"data": OTHER | {"price": float("inf")}}]).encode()
    assert [json.loads(part)["price"] for part in items(payload)] == [None, None]


@given(st.binary() | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_items_or_refused(payload: bytes) -> None:
    for prefix in (b"", b'{"data":', b'{"alerts":'):
        found = decode_items("alerts.X", prefix + payload + (b"}" if prefix else b""), received_at=1)
        assert found
        assert all(part.anomaly is not None or part.reason for part in found)
