"""The documentation is complete (every setting, every command), true (its examples run) and leads somewhere (links)."""

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands

from anomaly_site.ws.asyncapi import FRAMES, REQUESTS
from ingestion.sources import SOURCE_NAMES
from ingestion.sources.venues import VENUE_NAMES
from ingestion.stream.nats import ANOMALIES, ANOMALY_SUBJECTS, Publisher, connection
from ingestion.stream.nats_server import NatsServer
from ingestion.stream.reader import StreamReader
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import DETECTING, Alert, Method, SectorAnomaly

ROOT = Path(settings.BASE_DIR)
README = (ROOT / "README.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "frontend" / "README.md"]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
SETTINGS = ROOT / "anomaly_site" / "settings.py"
EXAMPLE_FILE = (ROOT / ".env.example").read_text()
OUR_APPS = ("anomaly_site", "alerts", "market", "ingestion", "frontend")


def settings_read() -> set[str]:
    """Names of the environment variables that settings.py asks `env` for."""
    calls = (node for node in ast.walk(ast.parse(SETTINGS.read_text())) if isinstance(node, ast.Call))
    asked = [call for call in calls if re.fullmatch(r"env\.(?!read_env)\w+", ast.unparse(call.func))]
    return {ast.literal_eval(call.args[0]) for call in asked}


def our_commands() -> set[str]:
    return {name for name, app in get_commands().items() if app in OUR_APPS}


def table_rows(pattern: str) -> set[str]:
    """The names in the first column of README's tables that match `pattern`."""
    return set(re.findall(rf"^\| `{pattern}` \|", README, re.MULTILINE))


def test_settings_are_found() -> None:
    assert {"DATA_DIR", "DATABASE_URL", "SECRET_KEY", "BEHIND_TLS_PROXY", "API_RATE"} <= settings_read()
    assert {"up", "send_test_market_data"} <= our_commands()


def test_every_setting_is_in_the_readme_and_nothing_else() -> None:
    assert table_rows(r"([A-Z][A-Z_]+)") == settings_read()


def example_settings() -> dict[str, str]:
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE_FILE, re.MULTILINE))


def test_every_setting_is_in_the_example_file_and_nothing_else() -> None:
    assert set(example_settings()) == settings_read()


def test_the_values_of_the_example_file_are_valid(tmp_path: Path) -> None:
    env = os.environ | example_settings() | {"DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import anomaly_site.settings"], cwd=ROOT, env=env, check=True)


def test_every_command_is_in_the_readme_and_nothing_else() -> None:
    assert table_rows(r"manage\.py (\w+)") == our_commands()


def named_in_tables(page: str, heading: str) -> set[str]:
    """The code words in the first column of the tables below a heading of docs/<page>."""
    section = (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|.*$(?!\n\| ---)", section, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_every_frame_and_request_is_in_the_protocol() -> None:
    assert named_in_tables("protocol.md", "Frames") == set(FRAMES)
    assert named_in_tables("protocol.md", "Requests") >= set(REQUESTS)


def test_every_method_is_in_the_protocol_and_explained() -> None:
    methods = {method.value for method in DETECTING}
    filters = re.search(r"^\| `methods` \| ([^|]+) \|", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE)
    assert filters is not None
    assert set(re.findall(r"`(\w+)`", filters[1])) == set(Method)
    assert named_in_tables("detectors.md", "The seven methods") == methods
    plots = re.findall(r"^!\[(\w+) catches and misses\]", (ROOT / "docs" / "evaluation.md").read_text(), re.MULTILINE)
    assert set(plots) >= methods


def test_every_source_and_venue_is_described() -> None:
    sources = re.findall(r"^\| `(\w+)`(?: \(default\))? \|", (ROOT / "docs" / "sources.md").read_text(), re.MULTILINE)
    assert set(sources) >= set(SOURCE_NAMES)
    assert named_in_tables("sources.md", "Live") == set(VENUE_NAMES)
    [choice] = re.findall(r"`--source ([a-z|]+)`", README)
    assert set(choice.split("|")) == set(SOURCE_NAMES)


def relative_links(document: Path) -> list[tuple[str, Path, str]]:
    """Every link of a document that stays inside the project: as written, the file it leads to, the anchor there."""
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text()))
    parts = [(link, *link.partition("#")) for link in links if not re.match(r"[a-z]+:", link)]
    return [
        (link, (document.parent / target).resolve() if target else document, anchor)
        for link, target, _, anchor in parts
    ]


def reachable(start: Path) -> set[Path]:
    """The documents that links lead to from `start`, over any number of documents."""
    found, ahead = {start}, [start]
    while ahead:
        linked = {path for _, path, _ in relative_links(ahead.pop())} & set(DOCUMENTS)
        ahead.extend(linked - found)
        found |= linked
    return found


def test_every_document_can_be_reached_from_the_readme() -> None:
    assert set(DOCUMENTS) <= reachable(ROOT / "README.md")


def test_every_page_is_named_in_the_readme() -> None:
    linked = {path for _, path, _ in relative_links(ROOT / "README.md")}
    assert {path for path in DOCUMENTS if path.parent in (ROOT, ROOT / "docs")} - {ROOT / "README.md"} <= linked


@pytest.mark.parametrize(
    "document", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_page_says_first_who_it_is_for(document: Path) -> None:
    title, blank, first = document.read_text().split("\n")[:3]
    assert title.startswith("# ")
    assert not blank
    assert first.startswith("For ")


# A row of a table cannot be wrapped. Its limit is what a wide screen shows.
LINE, TABLE_ROW = 120, 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_short_enough_to_review(document: Path) -> None:
    lines = enumerate(document.read_text().split("\n"), start=1)
    assert not [number for number, line in lines if len(line) > (TABLE_ROW if line.startswith("| ") else LINE)]


def headings(path: Path) -> list[str]:
    return re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.name)
def test_a_decision_is_short_and_has_its_four_parts(decision: Path) -> None:
    assert headings(decision) == ["Context", "Decision", "Costs", "What would make us drop it"]
    assert len(decision.read_text().splitlines()) <= 40
    number, title = re.findall(r"^# (\d+)\. (.+)$", decision.read_text(), re.MULTILINE)[0]
    assert decision.name.startswith(f"{int(number):04}-")
    assert title


def test_decisions_are_numbered_without_a_gap_and_listed() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    assert set(DECISIONS) <= {path for _, path, _ in relative_links(ROOT / "docs" / "decisions" / "README.md")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    broken = [
        link
        for link, path, anchor in relative_links(document)
        if not path.exists() or (anchor and anchor not in anchors(path))
    ]
    assert not broken


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The headings of a document as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def code_block(language: str, containing: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return str(next(block for block in blocks if containing in block))


async def test_the_example_in_python_publishes_an_alert(tmp_path: Path) -> None:
    data_dir = tmp_path / "var"
    async with NatsServer.running(data_dir) as server, connection(server.url, name="test") as client:
        await Publisher.open(client)  # makes the streams, as `up` does
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code_block("python", "nats")], cwd=tmp_path, check=True
        )
        reader = StreamReader(client, ANOMALIES)
        [received] = await reader.fetch(10)
        await reader.close()
    alert = decode_alert(
        received.data, received_at=received.received_at, subject_token=received.subject.removeprefix("alerts.")
    )
    assert isinstance(alert, Alert)
    assert (alert.symbol, alert.severity, alert.change_pct) == ("BTCUSDT", "HIGH", -2.1)


def test_the_example_for_the_command_line_is_a_market_anomaly() -> None:
    example = code_block("sh", "nats -s")
    subject, payload = re.findall(r"pub (\S+) .*?'(\{.*\})'", example, re.DOTALL)[0]
    assert f"{subject.split('.')[0]}.>" in ANOMALY_SUBJECTS
    anomaly = decode_market(payload.encode(), received_at=1_700_000_000_000, subject_token=subject.partition(".")[2])
    assert isinstance(anomaly, SectorAnomaly)
    assert anomaly.affected_symbols == ["UNIUSDT", "AAVEUSDT"]


EXAMPLES = {
    "severity": "LOW",
    "method": "MAD",
    "score": 5,
    "direction": "UP",
    "synchronization_ratio": 0.8,
    "metric": "breadth",
    "sector": "DeFi",
    "performance_pct": -4,
}


def least_fields() -> list[tuple[str, list[str]]]:
    """Subject and fields of every row of README's table of what a message needs at least."""
    rows = re.findall(r"^\| `((?:alerts|market)\.[^`]+)` \| (.+) \|$", README, re.MULTILINE)
    return [(subject, re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", cell))) for subject, cell in rows]


@pytest.mark.parametrize(("subject", "fields"), least_fields())
def test_what_the_readme_asks_of_a_message_is_enough(subject: str, fields: list[str]) -> None:
    payload = json.dumps({field: EXAMPLES[field] for field in fields}).encode()
    kind, _, token = subject.partition(".")
    decode = {"alerts": decode_alert, "market": decode_market}[kind]
    token = token.replace("<SYMBOL>", "BTCUSDT")
    assert decode(payload, received_at=1_700_000_000_000, subject_token=token).severity == "LOW"


def test_the_table_of_fields_is_complete() -> None:
    assert len(least_fields()) == 4
