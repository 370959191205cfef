"""A short form of `make attack`: every kind of attack on one running system."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.attack.__main__ import ATTACKS, failures, run
from tests.system.attack.connections import slow
from tests.system.attack.handshakes import verdict_of_library
from tests.system.attack.hostile import CHANGES, changed_bytes
from tests.system.attack.target import HANDSHAKE, Found, Target, target
from tests.system.conftest import ROOT, System


async def _too_many(on: Target, chance: random.Random, count: int) -> Found:
    """`slow` without the ten seconds after which the server cuts what asks for nothing."""
    return await slow(on, chance, count, wait=False)


@pytest.mark.system
async def test_a_running_system_withstands_every_attack(system: System) -> None:
    counts = {"idle": 50, "handshakes": 300, "frames": 2_000, "unfinished": 20, "slow": 400, "messages": 400}
    assert counts.keys() == ATTACKS.keys()
    async with target(system) as on:
        for name, count in counts.items():
            attack = _too_many if name == "slow" else ATTACKS[name][0]
            line, withstood = await run(on, name, attack, random.Random(f"22 {name}"), count)
            assert withstood, line


def test_a_system_is_made_outside_pytest(tmp_path: Path) -> None:
    """As `make attack`, `make replay-check` and the pictures do."""
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    program = f"from tests.system.attack.__main__ import Path, System; System(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, check=True)


@pytest.mark.parametrize("program", ["attack", "chaos", "chaos.soak", "replay_truth"])
def test_what_make_starts_outside_pytest_starts(program: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", f"tests.system.{program}", "--help"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HANDSHAKE, 101),
        (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (HANDSHAKE.replace(b"GET", b"POST"), 405),
        (HANDSHAKE.replace(b"websocket\r", b"h2c\r"), 426),
        (HANDSHAKE.replace(b"Mozilla", b"\x01"), 0),
        (HANDSHAKE[:-2], -1),
    ],
)
def test_what_the_library_says_of_a_handshake(head: bytes, status: int) -> None:
    assert verdict_of_library(head) == status


def test_changes_reach_both_what_is_accepted_and_what_is_not() -> None:
    chance = random.Random(22)
    verdicts = {verdict_of_library(changed_bytes(chance, HANDSHAKE, CHANGES)) for _ in range(300)}
    assert {101, 400, 426, 0, -1} <= verdicts


def test_errors_in_a_log_are_found() -> None:
    log = [
        "12:00:00 ERROR   uvicorn.error: Exception in ASGI application", "", "Traceback (most recent call last):",
        '  File "a.py", line 1', "    a()", "KeyError: 'a'", "12:00:01 WARNING x: y",
        "Traceback (most recent call last):", '  File "b.py"',
        "django.core.exceptions.DisallowedHost: Invalid HTTP_HOST header",
    ]  # fmt: skip
    assert failures(log) == ["KeyError: 'a'"]
