"""`/schema` and `/asyncapi.json` are valid, describe what is answered, and generators make working clients of them."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import given, settings
from hypothesis.strategies import from_regex
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pytest_django.live_server_helper import LiveServer

import alerts.services
import market.services
from anomaly_site.ws.asyncapi import FRAMES, document
from ingestion.timeseries.table import TableStore
from market.filters import GIVEN_TIME, read_moment
from market.models import MarketAnomaly, StressSample
from market.services import sequenced
from market.wire.messages import CandleBatch, Explanation, StressIndex, StressMetric, encode
from market.wire.times import moment
from tests.absent import absent
from tests.anomaly_site.ws.test_asyncapi import validate as validate_frame
from tests.samples import EPOCH, HISTORY, T0, a_movement, a_sector, a_stress, an_alert

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
CLIENTS = Path(__file__).parent / "clients"
LATER = "A_TYPE_OF_LATER"


def schema() -> Any:
    return Client(headers={"host": "localhost"}).get("/schema?format=json").json()


@pytest.fixture
def stored(db: None) -> None:
    """One of everything, and a market anomaly of a type that this version does not know."""
    why = Explanation(sentence="It fell.", parameters={"window_ms": 60000, "nested": {"any": [1, None]}})
    found = [an_alert("a1", explanation=why, history=HISTORY), an_alert("a2")]
    market.services.advance(EPOCH, 0, 9)
    alerts.services.store([sequenced(EPOCH, offset, message) for offset, message in enumerate(found, start=1)])
    kinds = [a_movement("m1"), a_stress("m2"), a_sector("m3"), a_stress("m4")]
    market.services.store([sequenced(EPOCH, offset, message) for offset, message in enumerate(kinds, start=3)])
    row = MarketAnomaly.objects.get(pk="m4")
    row.payload = json.dumps(
        {key: value for key, value in json.loads(row.payload).items() if key != "metric"} | {"type": LATER}
    )
    row.save()
    index = StressIndex(
        venue="binance", interval="1m", timestamp=T0, stress_index=3.5, metric=StressMetric.BREADTH,
        components={}, universe=320,
    )  # fmt: skip
    for minute in range(2):
        at = moment(T0) + timedelta(minutes=minute)
        StressSample.objects.create(venue="binance", timestamp=at, payload=encode(index).decode())
    candles = CandleBatch(
        venue="binance", interval="1m", close_time=T0, symbols=["BTCUSDT"],
        open=[1.0], high=[2.0], low=[0.5], close=[1.5], volume=[7.0],
    )  # fmt: skip
    TableStore().write([candles])


def test_openapi_is_valid() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(schema()).iter_errors()] == []


def test_asyncapi_is_valid() -> None:
    rules = FRONTEND / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
    if not rules.exists():
        absent("@asyncapi/specs is not installed: cd frontend && npm ci")
    validator = jsonschema.Draft7Validator(json.loads(rules.read_text()))
    assert [str(error) for error in validator.iter_errors(json.loads(json.dumps(document())))] == []


@pytest.mark.parametrize("described", [schema, document])
def test_every_field_has_a_description(described: Any) -> None:
    named = described()["components"]["schemas"]
    fields = {f"{name}.{key}": field for name, one in named.items() for key, field in one.get("properties", {}).items()}
    assert len(fields) > 100
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_every_operation_names_the_statuses_it_answers_with() -> None:
    for path, operations in schema()["paths"].items():
        for method, operation in operations.items():
            found = set(operation["responses"])
            done = next(status for status in sorted(found) if status < "300")
            assert done in ("202" if path.startswith("/publish") else ("200", "201", "204"))
            wanted = {"400", "429", "503"} | ({"404"} if "{" in path else set())
            assert wanted | ({"403"} if method == "post" else set()) <= found, path
            for status in found - {done}:
                assert set(operation["responses"][status]["content"]) >= {"application/json"}
            assert all(parameter["description"] for parameter in operation.get("parameters", ()))


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/alerts", 200),
        ("/alerts?limit=1", 200),
        ("/alerts?since=1760000000000:0", 200),
        ("/alerts/a1", 200),
        ("/alerts/none", 404),
        ("/alerts?severity=HUGE&no=1", 400),
        ("/alerts?severity=HUGE", 400),
        ("/alerts?limit=0", 400),
        ("/alerts/summary", 200),
        ("/market", 200),
        ("/market/m1", 200),
        ("/market/m4", 200),
        ("/market/summary", 200),
        ("/market/stress", 200),
        ("/market/stress?limit=1", 200),
        ("/sectors", 200),
        ("/symbols?symbols=BTCUSDT,NOUSDT", 200),
        ("/candles?symbol=BTCUSDT", 200),
        ("/candles?symbol=NOUSDT&venue=", 200),
        ("/candles?symbol=BTCUSDT&interval=1x", 400),
    ],
)
def test_what_is_answered_is_what_is_described(client: Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    described = schema()
    template = path.partition("?")[0]
    if template not in described["paths"]:
        template = f"{template.rpartition('/')[0]}/{{id}}"
    content = described["paths"][template]["get"]["responses"][str(status)]["content"]
    whole = content["application/json"]["schema"] | {"components": described["components"]}
    assert [error.message for error in OAS31Validator(whole).iter_errors(answer.json())] == []


def test_a_frame_of_a_later_type_is_valid() -> None:
    data = msgspec.to_builtins(a_stress()) | {"type": LATER}
    validate_frame({"type": "market", "channel": "market", "offset": 1, "data": data}, FRAMES)
    with pytest.raises(jsonschema.ValidationError):
        validate_frame({"type": "market", "channel": "market", "offset": 1, "data": data | {"revision": 0}}, FRAMES)


# --- What the schema allows is accepted, and nothing else (schemathesis looks for it) ---------------------------------


@settings(max_examples=200, deadline=None)
@given(from_regex(re.compile(GIVEN_TIME, re.ASCII), fullmatch=True))
def test_every_time_that_the_schema_allows_is_read(text: str) -> None:
    read_moment(text)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/alerts?format=xml", 400, "xml is unknown; expected one of"),
        ("/candles?symbol=BTCUSDT&format=xml", 400, "xml is unknown; expected one of"),
        ("/sectors?format=xml", 400, "xml is unknown; expected one of"),
        ("/alerts?venue=%1Fbinance", 400, "unprintable"),
        ("/alerts?search=%1B[2J", 400, "unprintable"),
        ("/alerts/%C2%84", 404, "There is nothing at /alerts/"),
        ("/market/a%20b", 404, "There is nothing at /market/a b"),
        ("/market/stress?limit=null", 400, "null is not a number of samples; expected a whole number from 1."),
        ("/market/stress?limit=0", 400, "expected a whole number from 1."),
        ("/market/stress?offset=-1", 400, "expected a whole number from 0."),
        ("/market/stress?limit=99999&offset=", 200, "stress_index"),
        ("/alerts?severity=&method=&state=&from=&since=&fields=", 200, "a1"),
        ("/alerts?venue=\u2135\ue000", 200, "results"),
    ],
)
def test_refusals_are_json_with_a_sentence(client: Client, path: str, status: int, said: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert said in json.dumps(answer.json(), ensure_ascii=False)


def test_what_forms_leave_empty_is_in_the_schema() -> None:
    parameters = {one["name"]: one["schema"] for one in schema()["paths"]["/alerts"]["get"]["parameters"]}
    assert parameters["severity"]["items"]["enum"] == ["LOW", "MEDIUM", "HIGH", "CRITICAL", ""]
    names = re.compile(parameters["fields"]["pattern"])
    assert [bool(names.search(text)) for text in ("", "id", "id,score", "id,", "idscore", "history", "id,no")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip
    places = re.compile(parameters["before"]["pattern"])
    assert [bool(places.search(text)) for text in ("", "1760000060000:a1", "1:a", "x")] == [True, True, False, False]


# --- Generated clients -----------------------------------------------------------------------------------------------


@pytest.fixture
def python_client(tmp_path: Path) -> Iterator[Any]:
    """The package that openapi-python-client generates."""
    (tmp_path / "schema.json").write_text(json.dumps(schema()))
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    made = subprocess.run(
        [
            sys.executable, "-m", "openapi_python_client", "generate", "--path", "schema.json",
            "--config", "config.yml", "--output-path", "generated_client", "--meta", "none", "--fail-on-warning",
        ],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(tmp_path))
    yield importlib.import_module("generated_client")
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("generated_client")]:
        del sys.modules[name]


@pytest.mark.usefixtures("stored")
def test_the_generated_python_client_works(python_client: Any) -> None:
    def call(module: str, *arguments: Any, **options: Any) -> Any:
        operation = importlib.import_module(f"generated_client.api.{module}")
        transport = httpx.WSGITransport(app=get_wsgi_application())
        client = python_client.Client(base_url="http://localhost", httpx_args={"transport": transport})
        return operation.sync_detailed(*arguments, client=client, **options)

    market = call("market.market_list").parsed
    assert [type(row).__name__ for row in reversed(market.results)] == [
        "StoredSynchronizedMovement", "StoredMarketStress", "StoredSectorAnomaly", "StoredOtherMarketAnomaly",
    ]  # fmt: skip
    later, sector = market.results[:2]
    assert (later.type_, later.universe, later["magnitude"]) == (LATER, 200, 3.5)
    assert (sector.sector, sector.deviation, sector.offset, market.cursor.offset) == ("DeFi", -5.5, 5, 9)
    alert = call("alerts.alerts_retrieve", "a1").parsed
    assert (alert.method, alert.score, len(alert.history)) == ("Z_SCORE", -6.1, 3)
    assert alert.explanation.parameters["nested"] == {"any": [1, None]}
    assert call("market.market_stress_list", limit=1).parsed.previous is None
    assert call("candles.candles_retrieve", symbol="BTC/USDT").parsed.candles[0].close == 1.5
    assert call("alerts.alerts_retrieve", "none").parsed.detail == "No Alert matches the given query."
    refused = call("alerts.alerts_list", limit=0)
    assert (refused.status_code, refused.parsed["limit"]) == (
        400, "0 is not a page size; expected a whole number from 1 to 1000.",
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_the_generated_typescript_client_compiles_and_works(
    tmp_path: Path, live_server: LiveServer, request: pytest.FixtureRequest
) -> None:
    modules = FRONTEND / "node_modules"
    node = shutil.which("node")
    if node is None or not (modules / "openapi-typescript").exists():
        absent("openapi-typescript is not installed: cd frontend && npm ci")
    request.getfixturevalue("stored")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "schema.json").write_text(json.dumps(schema()))
    shutil.copy(CLIENTS / "use.ts", tmp_path)

    def run(*arguments: str) -> str:
        done = subprocess.run([node, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(str(modules / "openapi-typescript/bin/cli.js"), "schema.json", "-o", "schema.d.ts")
    target = ["--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext", "--lib", "es2022,dom"]
    types = ["--types", "node", "--skipLibCheck"]
    run(str(modules / "typescript/bin/tsc"), "--strict", *target, *types, "use.ts", "schema.d.ts")
    assert json.loads(run("use.js", live_server.url)) == {
        "market": ["m4 other new", "m3 DeFi -5.5", "m2 stress 82 of 200", "m1 DOWN BTCUSDT ETHUSDT"],
        "alert": ["BTCUSDT", -3.4, "Z_SCORE", False, None],
        "refused": {"limit": "0 is not a page size; expected a whole number from 1 to 1000."},
        "missing": 404,
    }
