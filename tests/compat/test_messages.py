"""Messages and frames of 0.1: what is in NATS and in clients that nobody has updated."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.test import Client

from tests.compat import OLD
from tests.compat.comparison import lost
from tests.compat.doors import decode_alert, decode_batch, decode_feed, decode_market, decode_stress, encode


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (OLD / f"{name}.jsonl").read_text().splitlines()]


def decoded(subject: str, payload: Any, received_at: int | None = None) -> Any:
    """A message as today's code writes it again, from a payload as it came on `subject` (by default, once made)."""
    kind, _, token = subject.partition(".")
    received_at = payload.get("detected_at", 1_764_500_000_000) if received_at is None else received_at
    data = json.dumps(payload).encode()
    live: dict[str, Callable[[bytes], Any]] = {"candles": decode_batch, "feed": decode_feed, "stress": decode_stress}
    if plain := live.get(kind):
        return json.loads(encode(plain(data)))
    read = {"alerts": decode_alert, "market": decode_market}[kind]
    return json.loads(encode(read(data, received_at=received_at, subject_token=token)))


@pytest.mark.parametrize("row", rows("messages"), ids=lambda row: row["subject"])
def test_a_message_keeps_every_key_and_value(row: dict[str, Any]) -> None:
    assert not list(lost(row["payload"], decoded(row["subject"], row["payload"])))


# 0.1 wrote 0, or the number of symbols, for what a publisher had left out; now it is null.
GUESSED = {"universe", "average_change_pct", "alert_count", "magnitude", "stress_index", "deviation", "members"}


@pytest.mark.parametrize("row", rows("foreign"), ids=lambda row: row["subject"])
def test_a_message_of_another_publisher_means_what_it_did(row: dict[str, Any]) -> None:
    today = decoded(row["subject"], row["payload"], row["received_at"])
    absent = {name for name in GUESSED if name in today and today[name] is None}
    assert not list(lost(row["message"], today, unstable=absent))


@pytest.mark.parametrize("row", [row for row in rows("frames") if row["canonical"]], ids=lambda row: row["name"])
def test_the_data_of_a_frame_keeps_every_key_and_value(row: dict[str, Any]) -> None:
    frame = row["frame"]
    kind = {"alert": "alerts."}.get(frame["type"], f"{frame['type']}.")
    assert not list(lost(frame["data"], decoded(kind, frame["data"])))


@pytest.fixture(scope="module")
def described() -> Any:
    """The description of the stream as it is today."""
    return Client(headers={"host": "localhost"}).get("/asyncapi.json").json()


FRAMES = [row["frame"] for row in (*rows("frames"), *rows("conversation")) if row.get("canonical", "frame" in row)]
SESSION = [frame for row in rows("session") for frame in row["frames"]]
REQUESTS = [row["request"] for row in rows("conversation") if "request" in row]


@pytest.mark.parametrize("frame", [*FRAMES, *SESSION, *REQUESTS], ids=lambda frame: frame["type"])
def test_frames_both_ways_are_valid_today(frame: dict[str, Any], described: Any) -> None:
    payload = described["components"]["messages"][frame["type"]]["payload"]
    jsonschema.Draft202012Validator(payload | {"components": described["components"]}).validate(frame)


def test_there_is_something_of_every_kind() -> None:
    messages = [row["payload"] for row in rows("messages")]
    assert {row["subject"].partition(".")[0] for row in rows("messages")} == {
        "alerts", "market", "candles", "feed", "stress",
    }  # fmt: skip
    assert {message["state"] for message in messages if "severity" in message} == {"OPEN", "ESCALATED", "CLOSED"}
    assert {frame["type"] for frame in FRAMES} >= {"alert", "market", "feed", "stress", "subscribed", "heartbeat"}
