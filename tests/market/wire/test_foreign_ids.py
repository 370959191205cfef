"""The ids of messages of others: a stream that is read again must not double what is stored.

`foreign_ids.jsonl` was written with the code of 0.1 (`since` 0.1), and with that of the first version that reads it.
Rows are added, never changed: the id of a message without one is a hash of what it says.
"""

import json
from typing import Any

import pytest

from market.wire.decoding import decode_anomaly
from tests.compat import DATA

RECEIVED_AT = 1_764_500_000_000
ROWS = [json.loads(line) for line in (DATA / "foreign_ids.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: json.dumps(row["payload"]))
def test_a_message_keeps_its_id(row: dict[str, Any]) -> None:
    payload = json.dumps(row["payload"]).encode()
    assert decode_anomaly(row["subject"], payload, received_at=RECEIVED_AT).id == row["id"]
