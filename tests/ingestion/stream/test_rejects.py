"""Rejected messages are counted, logged once for each kind of reason, and kept."""

import logging
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from ingestion.stream import rejects as module
from ingestion.stream.nats import REJECTED, ensure_streams
from ingestion.stream.positions import load_position, save_position
from ingestion.stream.reader import Received
from ingestion.stream.rejects import Rejects, kind

MESSAGE = Received("alerts.BTCUSDT", b"{}", 7, 0)


class Broken:
    """A connection on which nothing can be sent."""

    def jetstream(self) -> "Broken":
        raise ConnectionRefusedError

    async def publish(self, *_: object, **__: object) -> None:
        raise ConnectionRefusedError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Expected `int`, got `str` - at `$.offset[3]`", "Expected `int`, got `str` - at `$.offset[418]`"),
        ("venue 'binance' is unknown", "venue 'a\"b' is unknown"),
        ("price 1.5e-7 is below 0.25", "price -3 is below 1_000"),
        ("truncated: at position 3", "truncated: at position 55"),
    ],
)
def test_reasons_that_differ_in_values_are_of_one_kind(one: str, other: str) -> None:
    assert kind(one) == kind(other)


def test_other_reasons_are_of_another_kind() -> None:
    assert kind("the price is negative") != kind("the volume is negative")


@given(st.text())
def test_a_kind_is_short_and_stable(reason: str) -> None:
    assert len(kind(reason)) <= 200
    assert kind(reason) == kind(f" {reason} ")


async def test_each_kind_is_logged_once_and_kinds_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_REASONS", 3)
    found = Rejects(cast(Client, Broken()))
    for number in range(50):
        assert found.knows(f"offset {number} is wrong") is (number > 0)
        await found.reject(MESSAGE, f"offset {number} is wrong")
    assert len([line for line in caplog.messages if "is wrong" in line]) == 1
    assert len([line for line in caplog.messages if "cannot be kept" in line]) == 1
    assert "()" not in caplog.text
    for letter in "abcdefgh":
        await found.reject(MESSAGE, f"kind {letter}")
    assert found.counts.total() == 58
    assert len(found.counts) == 4


@pytest.mark.system
async def test_a_deleted_stream_is_created_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.0)
    await ensure_streams(client)
    found = Rejects(client)
    await found.reject(MESSAGE, "wrong")
    await client.jetstream().delete_stream(REJECTED)
    await found.reject(MESSAGE, "wrong")
    await client.flush()
    assert (await client.jetstream().stream_info(REJECTED)).state.messages == 1
    assert found.counts == {"wrong": 2}


@pytest.mark.system
async def test_of_a_large_message_the_beginning_is_kept(client: Client) -> None:
    await ensure_streams(client)
    found = Rejects(client)
    await found.reject(MESSAGE._replace(data=b"x" * 700_000), "too large")
    await found.reject(MESSAGE, "wrong")
    await client.flush()
    stream = client.jetstream()
    large, small = [await stream.get_msg(REJECTED, number) for number in (1, 2)]
    assert large.data == b"x" * module.MOST_KEPT
    assert (large.headers or {})["Bytes"] == "700000"
    assert (small.data, "Bytes" in (small.headers or {})) == (MESSAGE.data, False)


@pytest.mark.system
async def test_garbage_in_the_bucket_is_no_position(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert await load_position(client, True) == (0, 0)
    bucket = await client.jetstream().create_key_value(bucket="POSITIONS")
    for garbage in (b"garbage", b"1:two", b"\xff\xfe", b"-1:-1", b"9" * 5_000 + b":1"):
        caplog.clear()
        await bucket.put("analyze", garbage)
        assert [await load_position(client, True) for _ in range(3)] == [(0, 0)] * 3
        assert len(caplog.messages) == 1
    await save_position(client, True, 5, 6)
    assert await load_position(client, True) == (5, 6)
