"""`?format=csv|jsonl|parquet` of `/alerts`, `/market` and `/candles`."""

import asyncio
import csv
import gzip
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from django.test import AsyncClient, Client
from pyarrow import parquet
from rest_framework.throttling import AnonRateThrottle

import alerts.services
import market.services
from alerts.models import Alert as AlertRow
from anomaly_site.asgi import application
from ingestion.timeseries.stores import candle_store
from market import exports
from market.export_views import IDLE_S, SLOTS, ExportEnded, Slots, TooManyExports
from market.exports import CsvExport, LinesExport, ParquetExport
from market.models import MarketAnomaly
from market.services import sequenced
from market.wire.messages import CandleBatch, Severity
from tests.samples import EPOCH, T0, a_movement, a_sector, a_stress, an_alert

FORMULA = '=HYPERLINK("http://example.org")'


@pytest.fixture
def stored(db: None) -> None:
    market.services.advance(EPOCH, 0, 30)
    found = [
        an_alert(f"a{number:02}", timestamp=T0 + number % 3, severity=Severity.LOW if number % 2 else Severity.HIGH)
        for number in range(1, 21)
    ]
    alerts.services.store([sequenced(EPOCH, offset, message) for offset, message in enumerate(found, start=1)])
    kinds = [a_movement("m1"), a_stress("m2"), a_sector("m3", sector=FORMULA)]
    market.services.store([sequenced(EPOCH, offset, message) for offset, message in enumerate(kinds, start=21)])


@pytest.fixture
def candles(db: None) -> Iterator[None]:
    candle_store.cache_clear()
    batches = [
        CandleBatch(
            venue="binance", interval="1m", close_time=T0 + 60_000 * minute, symbols=["BTCUSDT"],
            open=[1.0], high=[2.0], low=[0.5], close=[1.5 + minute], volume=[7.0],
        )
        for minute in range(12)
    ]  # fmt: skip
    candle_store().write(batches)
    yield
    candle_store.cache_clear()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files of some rows have several pieces."""
    for form in (CsvExport, LinesExport, ParquetExport):
        monkeypatch.setattr(form, "size", 4)
    monkeypatch.setitem(AnonRateThrottle.THROTTLE_RATES, "anon", "10000/s")
    yield
    assert len(SLOTS) == 0


def content(answer: Any) -> bytes:
    assert answer.status_code == 200, answer.content
    return b"".join(answer.streaming_content)


def rows_of(answer: Any, form: str) -> list[dict[str, Any]]:
    text = content(answer)
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text.decode())))
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(text)).to_pylist()
    return rows


# --- What is in a file ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("query", ["", "&severity=HIGH", "&limit=7", "&limit=8", f"&from={T0 + 1}&symbol=btc-usdt"])
def test_a_file_has_all_rows_that_the_list_has(client: Client, form: str, query: str) -> None:
    listed = [item["id"] for item in client.get(f"/alerts?limit=1000{query}").json()["results"]]
    if "limit" in query:
        listed = listed[: int(query.removeprefix("&limit="))]
    found = rows_of(client.get(f"/alerts?format={form}{query}"), form)
    assert [row["id"] for row in found] == listed


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("path", ["/alerts", "/market"])
def test_a_line_is_an_item_of_the_list(client: Client, path: str) -> None:
    answer = client.get(f"{path}?format=jsonl")
    assert answer.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert answer.headers["Stream-Cursor"] == f"{EPOCH}:30"
    assert rows_of(answer, "jsonl") == client.get(path).json()["results"]
    chosen = rows_of(client.get(f"{path}?format=jsonl&fields=severity,source"), "jsonl")
    assert chosen == client.get(f"{path}?fields=severity,source").json()["results"]


@pytest.mark.usefixtures("stored")
def test_columns_are_the_scalar_fields(client: Client) -> None:
    item = client.get("/alerts?limit=1").json()["results"][0]
    nested = {"spark", "explanation"}
    [row] = rows_of(client.get("/alerts?format=parquet&limit=1"), "parquet")
    times = {name: datetime.fromtimestamp(item[name] / 1000, tz=UTC) for name in ("timestamp", "detected_at")}
    assert row == {name: value for name, value in item.items() if name not in nested} | times
    [row] = rows_of(client.get("/alerts?format=csv&limit=1"), "csv")
    assert row == {
        name: "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in item.items()
        if name not in nested
    } | {"price": "58000.5"}
    chosen = content(client.get("/alerts?format=csv&limit=1&fields=score,symbol")).decode().splitlines()
    assert chosen == ['"id","symbol","score"', f'"{item["id"]}","BTCUSDT",-6.1']


@pytest.mark.usefixtures("stored")
def test_kinds_of_market_anomalies_share_a_table(client: Client) -> None:
    answer = client.get("/market?format=parquet")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="market-marketanomaly.parquet"'
    rows = rows_of(answer, "parquet")
    assert [row["type"] for row in rows] == ["SECTOR_ANOMALY", "MARKET_STRESS", "SYNCHRONIZED_MOVEMENT"]
    assert (rows[0]["sector"], rows[1]["sector"], rows[1]["stress_index"]) == (FORMULA, None, 82.0)


@pytest.mark.usefixtures("candles")
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_candles(client: Client, form: str) -> None:
    url = "/candles?symbol=btc/usdt"
    listed = client.get(url).json()["candles"]
    rows = rows_of(client.get(f"{url}&format={form}"), form)
    assert [float(row["close"]) for row in rows] == [candle["close"] for candle in listed]
    assert {(row["venue"], row["symbol"], row["interval"]) for row in rows} == {("binance", "BTCUSDT", "1m")}
    at = rows[0]["timestamp"]
    assert (at == datetime.fromtimestamp(T0 / 1000, tz=UTC)) if form == "parquet" else (int(at) == T0)
    for query in ("&limit=3", f"&limit=3&from={T0}", f"&to={T0 + 60_000}"):
        listed = client.get(url + query).json()["candles"]
        rows = rows_of(client.get(f"{url}{query}&format={form}"), form)
        assert [float(row["close"]) for row in rows] == [candle["close"] for candle in listed]


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("path", ["/alerts?", "/market?", "/candles?symbol=NOUSDT&"])
def test_a_file_without_rows_is_a_file(client: Client, form: str, path: str) -> None:
    text = content(client.get(f"{path}format={form}"))
    if form == "parquet":
        table = parquet.read_table(io.BytesIO(text))
        assert (table.num_rows, table.schema.field("timestamp").type) == (0, pa.timestamp("ms", "UTC"))
    else:
        assert text.count(b"\n") == (1 if form == "csv" else 0)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_never_becomes_a_formula(start: str) -> None:
    table = pa.table({"text": [f"{start}1+1", "a=b", None], "number": [-1.5, 2.0, None]})
    safe = exports.without_formulas(table).to_pydict()
    assert safe == {"text": [f"'{start}1+1", "a=b", None], "number": [-1.5, 2.0, None]}


@pytest.mark.usefixtures("stored")
def test_foreign_text_in_a_csv_is_text(client: Client) -> None:
    [row] = rows_of(client.get("/market?format=csv&type=SECTOR_ANOMALY"), "csv")
    assert (row["sector"], row["performance_pct"]) == (f"'{FORMULA}", "-8")


# --- How it is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv"),
        ("text/csv, */*;q=0.1", "text/csv"),
        ("application/jsonl", "application/x-ndjson"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json, text/csv;q=0.9", "application/json"),
        ("text/html, text/csv;q=0.9", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
    ],
)
def test_accept_chooses(client: Client, accept: str, kind: str) -> None:
    answer = client.get("/alerts", headers={"accept": accept})
    assert answer.headers["Content-Type"].partition(";")[0] == kind
    assert "Accept" in answer.headers["Vary"]
    answer.close()


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("accept", ["application/json, application/problem+json", "text/html", "text/csv"])
@pytest.mark.parametrize(("form", "kind"), [("csv", "text/csv"), ("json", "application/json"), ("api", "text/html")])
def test_format_decides_whatever_accept_says(client: Client, accept: str, form: str, kind: str) -> None:
    answer = client.get(f"/alerts?format={form}", headers={"accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, kind)
    answer.close()


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_it_is_compressed_for_those_who_accept_it(client: Client, form: str) -> None:
    plain = content(client.get(f"/alerts?format={form}"))
    answer = client.get(f"/alerts?format={form}", headers={"accept-encoding": "gzip"})
    assert (answer.headers["Content-Encoding"], "Accept-Encoding" in answer.headers["Vary"]) == ("gzip", True)
    assert gzip.decompress(content(answer)) == plain
    parquet = client.get("/alerts?format=parquet", headers={"accept-encoding": "gzip"})
    assert "Content-Encoding" not in parquet.headers
    assert content(parquet)[:4] == b"PAR1"


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("query", "parameter", "says"),
    [
        ("severity=HUGE", "severity", "HUGE is unknown"),
        ("form=1", "form", "Known: "),
        ("limit=0", "limit", "0 is not a number of rows"),
        (f"since={EPOCH}:1", "since", "An export has no pages"),
        ("before=1", "before", "An export has no pages"),
        ("fields=spark", "fields", "spark is not a column of csv"),
        ("fields=nothing", "fields", "nothing is not a field"),
    ],
)
def test_a_refusal_is_json(client: Client, query: str, parameter: str, says: str) -> None:
    answer = client.get(f"/alerts?format=csv&{query}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/json")
    assert says in str(answer.json()[parameter])
    assert client.get("/candles?format=csv").status_code == 400


@pytest.mark.usefixtures("stored")
def test_history_in_influxdb_is_not_exported(client: Client, settings: Any) -> None:
    settings.HISTORY_BACKEND = "influx"
    answer = client.get("/alerts?format=csv")
    assert answer.status_code == 400
    assert answer.json()["format"].startswith("Exports need HISTORY_BACKEND=orm;")


@pytest.mark.usefixtures("stored")
def test_head_takes_no_place(client: Client) -> None:
    answer = client.head("/alerts?format=csv")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")


# --- How many ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stored")
def test_one_per_client_and_two_in_all(client: Client) -> None:
    def export(address: str) -> Any:
        return client.get("/alerts?format=csv", REMOTE_ADDR=address)

    first = export("192.0.2.1")
    again = export("192.0.2.1")
    assert (again.status_code, again.headers["Retry-After"]) == (429, "10")
    assert again.json() == {"detail": "An export to your address is under way: wait for its end, or end it."}
    second = export("192.0.2.2")
    third = export("192.0.2.3")
    assert third.status_code == 429
    assert third.json() == {"detail": "2 exports are under way, which is the most: try again later."}
    content(first)
    content(export("192.0.2.1"))
    second.close()
    content(export("192.0.2.2"))


def test_a_client_that_takes_nothing_loses_its_place() -> None:
    now = 0.0
    slots = Slots(clock=lambda: now)
    idle = slots.take("a")
    busy = slots.take("b")
    now = IDLE_S - 1
    slots.touch(busy)
    with pytest.raises(TooManyExports):
        slots.take("c")
    now = IDLE_S
    slots.take("c")
    with pytest.raises(ExportEnded):
        slots.touch(idle)
    slots.touch(busy)


@pytest.mark.usefixtures("stored")
def test_a_failure_at_the_start_is_an_answer_and_takes_no_place(client: Client) -> None:
    AlertRow.objects.filter(pk="a01").update(payload="no JSON")
    client.raise_request_exception = False
    assert client.get("/alerts?format=csv&search=a01").status_code == 500
    assert len(SLOTS) == 0


@pytest.mark.usefixtures("stored")
def test_a_row_with_the_message_of_another_row_ends_the_file(client: Client) -> None:
    """Otherwise the same page would come for ever: the next one begins behind the last message."""
    newest = AlertRow.objects.order_by("-timestamp", "-id")[0]
    AlertRow.objects.update(payload=newest.payload)
    with pytest.raises(ValueError, match="is that of"):
        content(client.get("/alerts?format=csv"))


@pytest.mark.django_db(transaction=True)
async def test_a_client_that_goes_away_ends_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server makes no further piece, and the place is free."""
    rows = [a_sector(f"m{number:04}") for number in range(200)]
    await asyncio.to_thread(market.services.store, [sequenced(EPOCH, at, row) for at, row in enumerate(rows, start=1)])
    pieces = 0
    table = exports.AnomalyChunk.table

    def counted(chunk: exports.AnomalyChunk) -> Any:
        nonlocal pieces
        pieces += 1
        return table(chunk)

    monkeypatch.setattr(exports.AnomalyChunk, "table", counted)
    gone = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> Any:
        if not sent and not gone.is_set():
            sent.append(None)
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            gone.set()
            await asyncio.sleep(3600)  # a client that reads no further

    headers = [(b"host", b"localhost")]
    scope = {
        "type": "http", "method": "GET", "path": "/market", "query_string": b"format=csv", "headers": headers,
        "client": ("192.0.2.9", 5), "scheme": "http", "server": ("localhost", 80), "http_version": "1.1",
    }  # fmt: skip
    await application(scope, receive, send)
    assert 0 < pieces < 5
    assert len(SLOTS) == 0
    await asyncio.to_thread(MarketAnomaly.objects.all().delete)


@pytest.mark.django_db(transaction=True)
async def test_it_is_streamed_over_asgi() -> None:
    rows = [a_sector(f"m{number:04}") for number in range(20)]
    await asyncio.to_thread(market.services.store, [sequenced(EPOCH, at, row) for at, row in enumerate(rows, start=1)])
    answer: Any = await AsyncClient().get("/market?format=jsonl", headers={"accept-encoding": "gzip"})
    assert answer.is_async
    pieces = [piece async for piece in answer.streaming_content]
    assert len(pieces) > 4
    lines = gzip.decompress(b"".join(pieces)).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"m{number:04}" for number in reversed(range(20))]
    answer.close()
