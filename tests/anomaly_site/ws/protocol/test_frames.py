from typing import Any

import pytest

from anomaly_site.ws.protocol import frames
from anomaly_site.ws.protocol.frames import (
    Cursor,
    ErrorCode,
    Frame,
    ProtocolError,
    Request,
    anomaly_frame,
    parse_request,
    requested_filter,
)
from market.wire.filters import CHANNELS, MAX_FILTER_VALUES, Channel


def test_a_request_with_everything() -> None:
    request = parse_request(
        '{"type":"subscribe","id":"x","filters":{"symbols":["BTCUSDT"]},"since":{"epoch":1,"offset":2},"snapshot":3}'
    )
    assert request.filters == {"symbols": ["BTCUSDT"]}
    assert (request.id, request.since, request.snapshot, request.warnings) == ("x", Cursor(1, 2), 3, ())


def test_unknown_keys_are_named_in_warnings() -> None:
    assert parse_request('{"type":"subscribe","symbols":["BTCUSDT"]}').warnings == ("unknown key 'symbols'",)


def test_a_ping_may_carry_anything() -> None:
    assert parse_request(b'{"type":"ping","ts":1,"id":7}').warnings == ()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", ErrorCode.BAD_JSON),
        ("{", ErrorCode.BAD_JSON),
        (b"\xff\xfe", ErrorCode.BAD_JSON),
        ("[" * 5_000, ErrorCode.BAD_JSON),
        ("[]", ErrorCode.BAD_REQUEST),
        ("null", ErrorCode.BAD_REQUEST),
        ("{}", ErrorCode.UNKNOWN_TYPE),
        ('{"type":["subscribe"]}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"shout"}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"subscribe","filters":[]}', ErrorCode.BAD_REQUEST),
        ('{"type":"subscribe","since":{"epoch":1}}', ErrorCode.BAD_REQUEST),
        ('{"type":"subscribe","since":{"epoch":1,"offset":-1}}', ErrorCode.BAD_REQUEST),
        ('{"type":"subscribe","snapshot":"all"}', ErrorCode.BAD_REQUEST),
        ('{"type":"subscribe","id":{}}', ErrorCode.BAD_REQUEST),
        ('{"type":"ping","id":"' + "x" * 81 + '"}', ErrorCode.BAD_REQUEST),
        (" " * (frames.MAX_FRAME_BYTES + 1), ErrorCode.FRAME_TOO_LARGE),
    ],
)
def test_what_cannot_be_followed_has_a_code(data: str | bytes, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as error:
        parse_request(data)
    assert error.value.code is code


def test_errors_name_the_request_they_answer() -> None:
    with pytest.raises(ProtocolError) as error:
        parse_request('{"type":"subscribe","id":5,"snapshot":-1}')
    assert error.value.request_id == 5


def test_an_anomaly_frame_carries_its_payload_as_published() -> None:
    frame = anomaly_frame(Channel.MARKET, 12, b'{"id":"m1"}')
    assert frame.text == '{"type":"market","channel":"market","offset":12,"data":{"id":"m1"}}'
    assert anomaly_frame(Channel.ALERTS, 1, b"{}", snapshot=True).text.count('"snapshot":true') == 1


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_the_wire_form_is_one_text_frame(size: int) -> None:
    """Read back with the WebSocket parser of the `websockets` library, which knows nothing of ours."""
    from websockets.client import ClientProtocol
    from websockets.frames import Frame as ReceivedFrame
    from websockets.frames import Opcode
    from websockets.protocol import State
    from websockets.uri import parse_uri

    client = ClientProtocol(parse_uri("ws://localhost/"), max_size=None)
    client.state = State.OPEN
    client.reader_exhausted = False  # type: ignore[attr-defined]
    client.parser = client.parse()
    next(client.parser)
    json = b"x" * size
    client.receive_data(Frame(json).wire)
    (event,) = client.events_received()
    assert isinstance(event, ReceivedFrame)
    assert (event.opcode, event.fin, bytes(event.data)) == (Opcode.TEXT, True, json)


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ({"symbols": "BTCUSDT"}, ErrorCode.INVALID_FILTER),
        ({"symbols": ["X"] * (MAX_FILTER_VALUES + 1)}, ErrorCode.FILTER_TOO_LARGE),
    ],
)
def test_filters_that_cannot_be_read_are_refused_with_a_code(filters: dict[str, Any], code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as error:
        requested_filter(Request(type="subscribe", id=7, filters=filters), CHANNELS)
    assert (error.value.code, error.value.request_id) == (code, 7)
