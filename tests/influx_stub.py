"""InfluxDB 2 and 3 as their public HTTP contracts describe them, as far as we use them; neither can be installed here.

Strict where a real server is: authorization, organisation and bucket, line protocol, and a query that must be exactly
of the shape we send, with every value among the parameters. A value that found its way into the text is a syntax error.
Sources: InfluxData's API references of 2.7 (`/api/v2/write`, `/api/v2/query`, annotated CSV) and 3 Core
(`/api/v3/query_sql`), and the Flux grammar.
"""

import gzip
import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

TOKEN: Final = "secret-token"
ORG: Final = "desk"
BUCKET: Final = "market"

Point = dict[str, Any]
_LINE = re.compile(r"((?:[^,\s\\]|\\.)+)((?:,(?:[^,=\s\\]|\\.)+=(?:[^,=\s\\]|\\.)+)*) (.+) (-?\d{1,19})")
_TAG = re.compile(r",((?:[^,=\s\\]|\\.)+)=((?:[^,=\s\\]|\\.)+)")
_FIELD = re.compile(r'((?:[^,=\s\\]|\\.)+)=("(?:[^"\\]|\\.)*"|[^,\s"]+)(?:,|$)')


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class InfluxStub:
    """A server on a free port. `version` is 2 or 3; `breaks_off` makes the next Flux answer fail in mid-stream."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.breaks_off = False
        self.requests: list[str] = []
        self.points: dict[tuple[str, str, int], Point] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                version = "v2.7.10" if stub.version == 2 else "3.2.1"
                body = b"" if stub.version == 2 else json.dumps({"version": version}).encode()
                self._answer(204 if stub.version == 2 else 200, body, {"X-Influxdb-Version": version})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                stub.requests.append(url.path)
                routes: dict[str, Callable[[dict[str, str], bytes], tuple[int, bytes, str]]] = {
                    "/api/v2/write": stub.write,
                    **({"/api/v2/query": stub.flux} if stub.version == 2 else {"/api/v3/query_sql": stub.sql}),
                }
                try:
                    if url.path not in routes:
                        raise Refusal(404, "not found")
                    if self.headers.get("Authorization") not in {f"Token {TOKEN}", f"Bearer {TOKEN}"}:
                        raise Refusal(401, "unauthorized access")
                    status, answer, kind = routes[url.path](query, body)
                    self._answer(status, answer, {"Content-Type": kind})
                except Refusal as refusal:
                    codes = {400: "invalid", 401: "unauthorized", 404: "not found"}
                    text = json.dumps({"code": codes[refusal.status], "message": str(refusal)}).encode()
                    self._answer(refusal.status, text, {"Content-Type": "application/json"})

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- Endpoints ------------------------------------------------------------------------------------------------

    def write(self, query: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        if query.get("precision") != "ns":
            raise Refusal(400, "these tests write nanoseconds")
        if self.version == 2 and (query.get("org"), query.get("bucket")) != (ORG, BUCKET):
            raise Refusal(404, f'bucket "{query.get("bucket")}" not found')
        parsed = [_parse(line) for line in body.decode().splitlines()]
        for measurement, tags, fields, time in parsed:
            key = (measurement, json.dumps(tags, sort_keys=True), time)
            point = self.points.setdefault(key, {"_measurement": measurement, "_time": time, **tags})
            point.update(fields)
        return 204, b"", ""

    def flux(self, query: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        if query.get("org") != ORG:
            raise Refusal(404, f'organization name "{query.get("org")}" not found')
        asked = json.loads(body)
        given = _extern(asked["extern"])
        match = _FLUX.fullmatch(asked["query"])
        if match is None:
            raise Refusal(400, f"error in building plan: compilation failed: {asked['query']!r}")
        if given.get("p_bucket") != BUCKET:
            raise Refusal(404, f'could not find bucket "{given.get("p_bucket")}"')
        conditions = match["where"] + match["fields"]
        where = {name: given[value] for name, value in re.findall(r" r\.(\w+) == (p_\w+)", conditions)}
        keep = re.findall(r'"(\w+)"', match["keep"])
        found = self._select(
            match["measurement"], where, given["p_from"], given["p_to"], match["by"], match["desc"] == "true"
        )
        answer = _annotated_csv(found[: given["p_limit"]], keep)
        if self.breaks_off:
            self.breaks_off = False
            answer += "\r\n#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n"
            answer += ",query terminated: runtime error,897\r\n"
        return 200, answer.encode(), "text/csv; charset=utf-8"

    def sql(self, query: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        asked = json.loads(body)
        if set(asked) != {"db", "q", "params", "format"} or asked["format"] != "json":
            raise Refusal(400, "serde error")
        match = _SQL.fullmatch(asked["q"])
        if match is None:
            raise Refusal(400, f"SQL error: ParserError({asked['q']!r})")
        given = asked["params"]
        if not any(point["_measurement"] == match["measurement"] for point in self.points.values()):
            raise Refusal(400, f"Error during planning: table 'public.iox.{match['measurement']}' not found")
        where = {name: given[value] for name, value in re.findall(r' AND "(\w+)" = \$(\w+)', match["where"])}
        start, end = given["start"] * 1_000_000, given["end"] * 1_000_000
        found = self._select(match["measurement"], where, start, end, match["by"], match["order"] == "DESC")
        columns = re.findall(r'"(\w+)"', match["columns"])
        rows = [
            {name: _iso(point["_time"]).removesuffix("Z") if name == "time" else point.get(name) for name in columns}
            for point in found[: int(match["limit"])]
        ]
        return 200, json.dumps(rows).encode(), "application/json"

    def _select(
        self, measurement: str, where: dict[str, str], start: int, end: int, by: str, descending: bool
    ) -> list[Point]:
        found = [
            point
            for point in self.points.values()
            if point["_measurement"] == measurement
            and start <= point["_time"] < end
            and all(point.get(name) == value for name, value in where.items())
        ]
        return sorted(found, key=lambda point: (point["_time"], point.get(by) or ""), reverse=descending)


_FLUX: Final = re.compile(
    r"from\(bucket: p_bucket\)\s*\|> range\(start: p_from, stop: p_to\)"
    r'\s*\|> filter\(fn: \(r\) => r\._measurement == "(?P<measurement>\w+)"(?P<where>(?: and r\.\w+ == p_\w+)*)\)'
    r'\s*\|> pivot\(rowKey: \["_time"\], columnKey: \["_field"\], valueColumn: "_value"\)'
    r"(?P<fields>(?:\s*\|> filter\(fn: \(r\) => r\.\w+ == p_\w+\))*)"
    r'\s*\|> group\(\)\s*\|> sort\(columns: \["_time", "(?P<by>\w+)"\], desc: (?P<desc>true|false)\)'
    r"\s*\|> limit\(n: p_limit\)\s*\|> keep\(columns: \[(?P<keep>[\w\", ]+)\]\)"
)
_SQL: Final = re.compile(
    r'SELECT (?P<columns>[\w", ]+) FROM "(?P<measurement>\w+)"'
    r" WHERE time >= to_timestamp_millis\(\$start\) AND time < to_timestamp_millis\(\$end\)"
    r'(?P<where>(?: AND "\w+" = \$\w+)*)'
    r' ORDER BY time (?P<order>ASC|DESC), "(?P<by>\w+)" (?P=order) LIMIT (?P<limit>\d+)'
)


def _parse(line: str) -> tuple[str, dict[str, str], Point, int]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise Refusal(400, f"unable to parse '{line}'")
    fields: Point = {}
    rest = match[3]
    while rest:
        field = _FIELD.match(rest)
        if field is None:
            raise Refusal(400, f"unable to parse '{line}': invalid field format")
        fields[_plain(field[1])] = _value(field[2])
        rest = rest[field.end() :]
    tags = {_plain(name): _plain(value) for name, value in _TAG.findall(match[2])}
    return _plain(match[1]), tags, fields, int(match[4])


def _plain(text: str) -> str:
    return re.sub(r"\\([,= \\])", r"\1", text)


def _value(text: str) -> Any:
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if text in {"true", "false"}:
        return text == "true"
    try:
        return int(text[:-1]) if text.endswith("i") else float(text)
    except ValueError:
        raise Refusal(400, f"invalid number {text}") from None


def _extern(file: Any) -> dict[str, Any]:
    """The values of an AST file of `option name = literal` statements, as the client's `params=` makes it."""
    values: dict[str, Any] = {}
    for statement in file["body"]:
        assert statement["type"] == "OptionStatement"
        name, value = statement["assignment"]["id"]["name"], statement["assignment"]["init"]
        if value["type"] == "DateTimeLiteral":
            time = datetime.fromisoformat(value["value"])
            values[name] = round(time.timestamp() * 1000) * 1_000_000
        else:
            values[name] = int(value["value"]) if value["type"] == "IntegerLiteral" else value["value"]
    return values


def _annotated_csv(points: list[Point], columns: list[str]) -> str:
    if not points:
        return "\r\n"
    columns = [name for name in columns if any(point.get(name) is not None for point in points)]
    kinds = {float: "double", int: "long", bool: "boolean", str: "string"}
    types, rows = [], []
    for name in columns:
        present = next((point[name] for point in points if point.get(name) is not None), "")
        types.append("dateTime:RFC3339Nano" if name == "_time" else kinds[type(present)])
    for point in points:
        cells = [_cell(_iso(point[name]) if name == "_time" else point.get(name)) for name in columns]
        rows.append(",".join(["", "", "0", *cells]))
    head = [
        ",".join(["#datatype", "string", "long", *types]),
        ",".join(["#group", "false", "false", *("false" for _ in columns)]),
        ",".join(["#default", "_result", "", *("" for _ in columns)]),
        ",".join(["", "result", "table", *columns]),
    ]
    return "\r\n".join([*head, *rows, ""])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def _iso(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0").rstrip(".") + "Z"
