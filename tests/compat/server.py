"""`manage.py up` in a process of its own, and what its users do: read the API, sign in to the admin, open a socket."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect

from tests.compat import ROOT

# How long anything may take on a busy machine.
PATIENCE_S: Final = 120.0
_ANNOUNCED: Final = re.compile(r"^🔊.*$", re.MULTILINE)
# Leads the processes of the tests, and nothing from outside to them.
_NOT_INHERITED: Final = ("NATS_URL", "CHANNEL_REDIS_URL", "INFLUXDB_URL", "HISTORY_BACKEND")


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Variables for commands that keep their data in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    database = {"DATABASE_URL": f"sqlite:///{folder}/anomalies.sqlite3"}
    return inherited | database | {"DATA_DIR": str(folder), "API_RATE": "1000000/s"} | variables


def manage(variables: Mapping[str, str], *arguments: str) -> None:
    """Run a command to its end. Raises `AssertionError` with its output when it fails."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def up(variables: Mapping[str, str], *arguments: str, until: re.Pattern[str] = _ANNOUNCED) -> Iterator[str]:
    """`manage.py up` for the length of a block. Yields what it wrote of `until`: the line with 🔊."""
    output = Path(variables["DATA_DIR"]) / "output"
    command = [sys.executable, "manage.py", "up", *arguments]
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := until.search(output.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no {until.pattern!r} from manage.py up:\n{output.read_text()}")
            time.sleep(0.05)
        yield found.group()
    finally:
        process.terminate()
        code = process.wait(PATIENCE_S)
    assert code == 0, output.read_text()
    assert "Traceback" not in output.read_text(), output.read_text()


@contextmanager
def web(variables: Mapping[str, str]) -> Iterator["Site"]:
    """The web role alone, on the database that `variables` name."""
    with up(variables, "--only", "web", "--port", "0") as line:
        yield Site(re.findall(r"ws://([^/]+)/", line)[0])


class Site:
    """A server of ours at `address` (host and port), as a browser with cookies has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def text(self, path: str, form: Mapping[str, str] | None = None) -> str:
        """A page; with `form`, the answer to it."""
        url = f"http://{self.address}{path}"
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        with self._browser.open(urllib.request.Request(url, data, {"Referer": url}), timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def json(self, path: str) -> Any:
        """An answer of the API, its own address replaced by HOST."""
        return json.loads(self.text(path).replace(self.address, "HOST"))

    def sign_in(self, name: str, password: str) -> None:
        token, *_ = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', self.text("/admin/login/"))
        form = {"csrfmiddlewaretoken": token, "username": name, "password": password, "next": "/admin/"}
        assert "Log out" in self.text("/admin/login/", form)

    def listed(self, path: str) -> list[str]:
        """Keys of the rows of a list in the admin."""
        return re.findall(r'name="_selected_action" value="([^"]+)"', self.text(path))

    async def conversation(self, requests: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """What is answered to each request, up to the frame that ends it."""
        async with connect(f"ws://{self.address}/ws") as socket:
            answers = []
            for request in requests:
                await socket.send(json.dumps(request))
                # History that was asked for ends with a heartbeat; everything else is one frame.
                last = "heartbeat" if {"since", "snapshot"} & set(request) else ""
                frames = [json.loads(await socket.recv())]
                while last not in ("", frames[-1]["type"]):
                    frames.append(json.loads(await socket.recv()))
                answers.append(frames)
            return answers
