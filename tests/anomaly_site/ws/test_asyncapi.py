"""The description of the stream against what the stream really says."""

import json
import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from django.conf import settings
from django.test import Client

from anomaly_site.ws.asyncapi import FRAMES, REQUESTS, document
from anomaly_site.ws.protocol.frames import CloseCode, ErrorCode, parse_request
from market.wire.filters import Channel
from market.wire.messages import Feed, FeedState, SourceKind, StressIndex, StressMetric, encode
from tests.anomaly_site.ws.conftest import Connect
from tests.anomaly_site.ws.world import NOW_MS, World, alert, sector, stress, synchronized


def validate(frame: dict[str, Any], kinds: dict[str, Any]) -> None:
    schema = {"$ref": f"#/components/schemas/{kinds[frame['type']].__name__}"} | document()
    jsonschema.Draft202012Validator(schema).validate(frame)


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for value in node.values() for reference in references(value)]
    if isinstance(node, list):
        return [reference for value in node for reference in references(value)]
    return []


def test_it_is_served_and_every_reference_leads_somewhere(client: Client) -> None:
    served = client.get("/asyncapi.json").json()
    assert served == json.loads(json.dumps(document()))
    for reference in references(served):
        target = served
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    assert set(served["components"]["messages"]) == set(FRAMES) | set(REQUESTS)


async def test_every_frame_the_server_sends_is_described(connect: Connect, world: World) -> None:
    await world.publish((Channel.ALERTS, alert("a0")))
    feed = Feed(
        venue="binance", source=SourceKind.LIVE, state=FeedState.OK, interval="1s", symbols=3, age_ms=5,
        timestamp=NOW_MS,
    )  # fmt: skip
    await world.live("feed", "binance", encode(feed))
    index = StressIndex(
        venue="binance", interval="1s", timestamp=NOW_MS, stress_index=3.5, metric=StressMetric.BREADTH,
        components={}, universe=320,
    )  # fmt: skip
    await world.live("stress", "binance", encode(index))
    socket = await connect()
    for request in (
        {"type": "subscribe", "id": 1, "filters": {"channels": ["alerts", "market"]}, "snapshot": 1},
        {"type": "update_filters", "since": {"epoch": world.epoch, "offset": 0}},
        {"type": "shout"},
    ):
        await socket.send_json_to(request)
        if request["type"] in REQUESTS:
            validate(request, REQUESTS)
    await world.publish(
        (Channel.ALERTS, alert()), (Channel.MARKET, stress()), (Channel.MARKET, sector()),
        (Channel.MARKET, synchronized()),
    )  # fmt: skip
    seen: set[str] = set()
    while not {"market", "error"} <= seen:
        frame = await socket.receive_json_from()
        validate(frame, FRAMES)
        seen.add(frame["type"])
    for request in ({"type": "ping", "id": "p"}, {"type": "unsubscribe"}):
        await socket.send_json_to(request)
    while "unsubscribed" not in seen:
        frame = await socket.receive_json_from()
        validate(frame, FRAMES)
        seen.add(frame["type"])
    assert seen == set(FRAMES) - {"authenticated"}  # test_tokens.py has that


GOLDEN = [
    json.loads(line)
    for name in ("frames.jsonl", "conversation.jsonl")
    for line in (settings.BASE_DIR / "tests" / "data" / name).read_text().splitlines()
]


@pytest.mark.parametrize("row", [row for row in GOLDEN if row.get("canonical", True)], ids=lambda row: row["name"])
def test_golden_frames_are_as_described_and_come_out_of_the_structs_unchanged(row: dict[str, Any]) -> None:
    kinds = REQUESTS if "request" in row else FRAMES
    frame = row.get("request") or row["frame"]
    validate(frame, kinds)
    struct = msgspec.convert(frame, kinds[frame["type"]])
    encoded = msgspec.json.decode(msgspec.json.encode(struct))
    # A field that is not in an older frame is null.
    if "data" in encoded and frame["type"] in ("alert", "market"):
        encoded["data"] = {name: value for name, value in encoded["data"].items() if name in frame["data"] or value}
    assert encoded == frame
    if kinds is REQUESTS:
        assert parse_request(json.dumps(frame)).warnings == ()


def test_there_is_a_golden_one_of_every_kind() -> None:
    assert {row["frame"]["type"] for row in GOLDEN if "frame" in row} == set(FRAMES)
    assert {row["request"]["type"] for row in GOLDEN if "request" in row} == set(REQUESTS)


def test_every_code_is_described_here_and_in_the_documentation() -> None:
    page = (settings.BASE_DIR / "docs" / "protocol.md").read_text()
    closes = re.findall(r"^\| (\d{4}) \|", page, re.MULTILINE)
    assert closes == list(document()["x-close-codes"]) == [str(int(code)) for code in CloseCode]
    errors = page[page.index("| error code |") : page.index("| close code |")]
    assert set(re.findall(r"`([a-z_]+)`", errors)) >= set(ErrorCode)


def test_the_description_can_tell_right_from_wrong() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate({"type": "error", "code": "nonsense", "message": ""}, FRAMES)
    assert ErrorCode.BAD_JSON in document()["components"]["schemas"]["ErrorCode"]["enum"]


def test_what_is_described_as_a_request_is_understood() -> None:
    for name in REQUESTS:
        assert parse_request(json.dumps({"type": name, "token": "ank_"})).type == name
