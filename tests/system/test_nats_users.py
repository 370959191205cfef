"""The whole path on a NATS server with TLS, every role a process with the user that is made for it."""

import json
import re
from pathlib import Path

import pytest

from tests.ingestion.stream.servers import certificates, serving
from tests.system.conftest import System, wait_for_status, wait_until

pytestmark = pytest.mark.system


def test_every_role_works_with_its_own_user(system: System, tmp_path: Path) -> None:
    keys, users = certificates(tmp_path / "tls"), tmp_path / "server" / "users"
    assert system.run("nats_config", str(users)).returncode == 0
    tls = f'tls {{ cert_file: "{keys.server}", key_file: "{keys.server_key}" }}\ninclude "users/nats-users.conf"'
    common = dict(system.env)

    def of(role: str) -> None:
        login = dict(line.split("=", 1) for line in (users / f"{role}.env").read_text().splitlines())
        system.env = common | login | {"NATS_URL": f"tls://{place}", "NATS_CA": str(keys.ca)}

    with serving(tmp_path / "server", tls) as place:
        started = []
        for role, *words in (
            ("history", "history"),
            ("deliver", "deliver"),
            ("bridge", "nats_bridge"),
            ("analyze", "analyze"),
            ("ingest", "ingest", "--source", "simulated", "--seed", "7"),
        ):
            of(role)
            started.append(system.start(*words))
        of("web")
        started.append(system.up("--only", "web"))
        of("publisher")
        done = system.run("generate_test_alerts", "5", "0", "--seed", "1")
        assert "Published 5 message(s)" in done.stdout, done.stderr
        wait_until(lambda: len(system.get("/alerts")["results"]) >= 5, what="the alerts")
        working = {"ingest", "analyze", "bridge", "history", "deliver"}
        status = wait_for_status(
            system,
            lambda status: (
                {role["role"] for role in status["roles"] if role["state"] == "ok"} >= working
                and status["lag"].get("history", {}).get("offset")
                and status["lag"].get("analyze", {}).get("offset")
                and status["nats"] == {"jetstream": True}
            ),
            "every role at work",
        )
        assert {"ANOMALIES", "CANDLES", "REJECTED"} <= set(status["streams"]), json.dumps(status)
        for command in started:
            assert command.stop() == 0, command.output
        outputs = "\n".join(command.output for command in started)
        assert "iolation" not in outputs + done.stderr, outputs
    assert not re.search(r"iolation", (tmp_path / "server" / "log").read_text())
