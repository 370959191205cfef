"""Which NATS server is asked: `NATS_URL`, or the server that `manage.py up` runs because that does not answer."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from ingestion.stream.address import server_url, standing_in
from ingestion.stream.nats_server import NatsServer

DEAD = "nats://user:secret@127.0.0.1:9"


@pytest.fixture
def data_dir(tmp_path: Path, settings: Settings) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def test_without_a_server_it_is_the_setting_or_the_default(data_dir: Path, settings: Settings) -> None:
    settings.NATS_URL = ""
    assert server_url() == "nats://127.0.0.1:4222"
    settings.NATS_URL = DEAD
    assert server_url() == DEAD


@pytest.mark.system
async def test_the_server_of_up_stands_in_for_one_that_does_not_answer(data_dir: Path, settings: Settings) -> None:
    settings.NATS_URL = DEAD
    async with NatsServer.running(data_dir) as server:
        assert server_url() == DEAD  # an `up` that was told nothing of this address
        with standing_in():
            assert server_url() == server.url
            assert "secret" not in (data_dir / "nats.stands_in").read_text()
            settings.NATS_URL = "nats://127.0.0.1:10"
            assert server_url() == settings.NATS_URL  # of somebody who asks for another one
            settings.NATS_URL = DEAD
        assert server_url() == DEAD


async def test_what_a_killed_server_left_is_not_asked(data_dir: Path, settings: Settings) -> None:
    settings.NATS_URL = DEAD
    with standing_in():
        (data_dir / "nats.url").write_text("nats://token@127.0.0.1:9")
        assert server_url() == DEAD
        (data_dir / "nats.url").write_text("nats://[")
        assert server_url() == DEAD


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
async def test_the_status_asks_the_server_that_stands_in(data_dir: Path, settings: Settings) -> None:
    settings.NATS_URL = DEAD
    async with NatsServer.running(data_dir):
        with standing_in():
            await asyncio.sleep(0)
            found: dict[str, Any] = {}
            async with asyncio.timeout(30):  # a busy server may not answer within the time of a probe
                while "jetstream" not in found:
                    found = json.loads((await AsyncClient().get("/status")).content)["nats"]
    assert found == {"jetstream": True}
