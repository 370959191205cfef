"""The frames that vitest feeds the panel (`tests/data/frames.jsonl`) are what the server really sends and accepts."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from market.wire.decoding import decode_alert, decode_feed, decode_market, decode_stress
from market.wire.messages import encode

ROWS = [json.loads(line) for line in (Path(__file__).parent.parent / "data" / "frames.jsonl").read_text().splitlines()]
RECEIVED_AT = 1_621_424_200_000


def decode(frame: dict[str, Any]) -> Any:
    payload = json.dumps(frame["data"]).encode()
    live = {"feed": decode_feed, "stress": decode_stress}.get(frame["type"])
    if live is not None:
        return live(payload)
    read = decode_alert if frame["type"] == "alert" else decode_market
    return read(payload, received_at=RECEIVED_AT)


@pytest.mark.parametrize("row", [row for row in ROWS if row["canonical"]], ids=lambda row: row["name"])
def test_canonical_frames_survive_the_servers_own_types(row: dict[str, Any]) -> None:
    """A field that is not in an older frame is null."""
    added = dict.fromkeys(("excess_pct", "excursion_pct", "rarity_days", "settings", "source", "venue"))
    message = json.loads(encode(decode(row["frame"])))
    assert message == {name: added[name] for name in message if name in added} | row["frame"]["data"]


@pytest.mark.parametrize("row", [row for row in ROWS if not row["canonical"]], ids=lambda row: row["name"])
def test_foreign_frames_normalise_to_what_the_panel_makes_of_them(row: dict[str, Any]) -> None:
    message = msgspec.to_builtins(decode(row["frame"]))
    assert row["expect"]
    assert {key: message[key] for key in row["expect"]} == row["expect"]
