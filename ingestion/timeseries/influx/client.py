"""Access to an InfluxDB server of any version: write lines, read rows. Its errors become `StoreUnavailable` or
`StoreRefused`.

Versions 2 and 3, and compatible servers, accept writes on the v2 endpoint; 1.x has its own. Each version has its own
query language (`ingestion.timeseries.core.queries`). Sources: the HTTP APIs in InfluxData's documentation of 1.8, 2.7
and 3 Core.
"""

import atexit
import contextlib
import gzip
import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

import urllib3
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.flux_csv_parser import FluxQueryException
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

from ingestion.timeseries.core.queries import Question, flux, influxql, row_time_ms, sql
from ingestion.timeseries.store import StoreRefused, StoreUnavailable
from market.wire.times import epoch_ms

logger = logging.getLogger(__name__)

Row = dict[str, Any]

CONNECT_S: Final = 3.0
ANSWER_S: Final = 10.0
# Lines in one request, as InfluxData advises.
WRITE_LINES: Final = 5_000
_API_OF_MAJOR: Final = {"0": "influxql", "1": "influxql", "2": "flux", "3": "sql"}
_SAFE_NAME: Final = re.compile(r"[\w.\-]{1,64}")


class InfluxServer:
    """`api` is auto, flux, sql or influxql; auto detects it by `/ping`. Safe to use from several threads."""

    def __init__(self, *, url: str, token: str, database: str, org: str, api: str = "auto") -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._database = database
        self._api = "" if api == "auto" else api
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S), retries=False, maxsize=4
        )
        self._client = InfluxDBClient(
            url=self._url, token=token, org=org or "-", timeout=(1000 * CONNECT_S, 1000 * ANSWER_S), enable_gzip=True
        )
        atexit.register(self._client.close)  # its destructor fails when the interpreter is half gone
        self._lock = threading.Lock()

    def write(self, lines: Sequence[str]) -> None:
        """Write points in line protocol, times in ns. Raises `StoreUnavailable` or `StoreRefused`."""
        old = self._speaks() == "influxql"
        for start in range(0, len(lines), WRITE_LINES):
            body = "\n".join(lines[start : start + WRITE_LINES])
            if old:
                self._write_v1(body)
            else:
                with self._errors():
                    self._client.write_api(write_options=SYNCHRONOUS).write(bucket=self._database, record=body)

    def ask(self, question: Question) -> list[Row]:
        """Return the rows, oldest first; `time` in epoch ms. Raises `StoreUnavailable`."""
        ask = {"influxql": self._ask_influxql, "flux": self._ask_flux, "sql": self._ask_sql}[self._speaks()]
        try:
            rows = ask(question)
        except StoreRefused as error:
            raise StoreUnavailable(
                str(error), "InfluxDB rejected the request; the server log has the cause."
            ) from error
        return rows[::-1] if question.newest else rows

    def _speaks(self) -> str:
        with self._lock:
            if not self._api:
                version = self._request("GET", "/ping").headers.get("X-Influxdb-Version", "")
                major = version.lstrip("v")[:1]
                # A server without a version is not InfluxDB, but may be compatible with version 2.
                self._api = _API_OF_MAJOR.get(major, "flux")
                logger.info("InfluxDB at %s: version %s, queries in %s", self._url, version or "unknown", self._api)
            return self._api

    def _write_v1(self, body: str) -> None:
        fields = {"db": self._database, "precision": "ns"}
        compressed = gzip.compress(body.encode(), compresslevel=1)
        try:
            self._request("POST", "/write", fields, compressed, {"Content-Encoding": "gzip"})
        except StoreUnavailable as error:
            if "database not found" not in str(error) or not _SAFE_NAME.fullmatch(self._database):
                raise
            logger.info("InfluxDB: database %s does not exist; creating it", self._database)
            self._influxql(f'CREATE DATABASE "{self._database}"', {})
            self._request("POST", "/write", fields, compressed, {"Content-Encoding": "gzip"})

    def _ask_influxql(self, question: Question) -> list[Row]:
        result = self._influxql(*influxql(question))
        if "error" in result:
            if "database not found" in result["error"]:
                return []
            raise StoreUnavailable(f"InfluxDB: {result['error']}", _WRONG)
        series = result.get("series")
        if not series:
            return []
        rows = [dict(zip(series[0]["columns"], values, strict=True)) for values in series[0]["values"]]
        return [row | {"time": row["time"] // 1_000_000} for row in rows]

    def _influxql(self, text: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Run one statement and return its result. Sent as a form: an access log shows neither text nor parameters."""
        fields = {"db": self._database, "epoch": "ns", "q": text, "params": json.dumps(parameters)}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(fields).encode()
        answer = self._request("POST", "/query", {}, body, headers)
        result: dict[str, Any] = answer.json()["results"][0]
        return result

    def _ask_flux(self, question: Question) -> list[Row]:
        text, parameters = flux(question, self._database)
        with self._errors():
            records = list(self._client.query_api().query_stream(text, params=parameters))
        # A column without any value is missing from the answer.
        return [
            {"time": epoch_ms(record.values["_time"])} | {name: record.values.get(name) for name in question.columns}
            for record in records
        ]

    def _ask_sql(self, question: Question) -> list[Row]:
        text, parameters = sql(question)
        body = {"db": self._database, "q": text, "params": parameters, "format": "json"}
        try:
            answer = self._request(
                "POST", "/api/v3/query_sql", {}, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
        except (StoreUnavailable, StoreRefused) as error:
            if re.search(r"(table|database) .*not found", str(error)):
                return []  # nothing has been written yet
            raise
        return [row | {"time": row_time_ms(row["time"])} for row in answer.json()]

    def _request(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        query = f"?{urlencode(fields)}" if fields else ""
        with self._errors():
            answer = self._http.request(
                method, f"{self._url}{path}{query}", body=body, headers={**self._authorization(), **(headers or {})}
            )
        if answer.status >= 300:
            _raise(answer.status, answer.data.decode(errors="replace"))
        return answer

    def _authorization(self) -> dict[str, str]:
        if ":" in self._token:  # user and password of 1.x
            return urllib3.make_headers(basic_auth=self._token)
        return {"Authorization": f"Token {self._token}"} if self._token else {}

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InfluxDBError as error:
            _raise(getattr(error, "status", None) or 0, error.message or "")
        except FluxQueryException as error:
            raise StoreUnavailable(f"InfluxDB stopped in the middle of its answer: {error.message}", _WRONG) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = f"does not answer ({type(error).__name__})."
            raise StoreUnavailable(f"InfluxDB at {self._url} {reason}", f"InfluxDB {reason}") from error


_WRONG: Final = "InfluxDB cannot answer now; the server log has the cause."


def _raise(status: int, said: str) -> NoReturn:
    """Raise `StoreUnavailable` if a later try or a changed setting may help, else `StoreRefused`."""
    said = " ".join(said.split())[:300]
    if status in {401, 403}:
        raise StoreUnavailable(
            f"InfluxDB does not accept API_TOKEN ({status}: {said}).", f"InfluxDB does not accept API_TOKEN ({status})."
        )
    if status in {400, 413, 422}:
        raise StoreRefused(f"InfluxDB rejected the request ({status}: {said}).")
    raise StoreUnavailable(f"InfluxDB cannot process the request now ({status}: {said}).", _WRONG)
