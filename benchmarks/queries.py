"""How long lists of alerts take with many rows, on SQLite and on a temporary PostgreSQL.

    python -m benchmarks.queries [--rows 1000000] [--folder DIR] [--only sqlite|postgresql] [--rounds 20]

Fills a database with alerts of 1 KB (270,000 a day, 400 symbols), then asks each of `QUERIES` that often, in this
process: from the request to the rendered answer, without the network. Prints in ms the median, the 95th percentile, and
the 95th percentile of this process's CPU time, which includes all that SQLite does and depends less on what else runs;
and the size of the database. SQLite's file stays in `--folder` and is used again. Ten million rows need 20 GB of disk.
"""

import argparse
import contextlib
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import ROOT, free_port
from benchmarks.whole_path import postgresql

SYMBOLS: Final = 400
A_DAY: Final = 270_000
_BATCH: Final = 10_000
_END_MS: Final = 1_790_000_000_000
_MANY: Final = ",".join(f"S{number:03d}USDT" for number in range(SYMBOLS))
_FEW: Final = ",".join(f"S{number:03d}USDT" for number in range(0, SYMBOLS, 40))
_DAY: Final = f"from={_END_MS - 86_400_000}&to={_END_MS}"

# One of the 400 symbols is rare, as are the venue okx, the interval 5m and the source replay; nobody has the others.
QUERIES: Final = {
    "the newest page": "/alerts",
    "a page far back": f"/alerts?before={_END_MS - 2 * 86_400_000}:x",
    "400 symbols": f"/alerts?symbols={_MANY}",
    "10 symbols, 2 severities": f"/alerts?symbols={_FEW}&severity=HIGH,CRITICAL",
    "a rare symbol and an unknown one": "/alerts?symbols=RAREUSDT,NOBODYUSDT",
    "the start of a symbol": "/alerts?search=S1",
    "an unknown venue": "/alerts?venue=nowhere",
    "a rare venue": "/alerts?venue=okx",
    "a rare interval": "/alerts?interval=5m",
    "a method without alerts": "/alerts?method=EXTERNAL",
    "a rare source, of a severity": "/alerts?source=replay&severity=LOW",
    "three filters that meet nothing": "/alerts?method=CUSUM&venue=okx&direction=DOWN",
    "not reviewed": "/alerts?review_state=new",
    "reviewed": f"/alerts?review_state=resolved,false_positive&{_DAY}",
    "summary of a day": f"/alerts/summary?as_of={_END_MS}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="alerts in the table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="how often each query is asked (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("/tmp"), help="where databases are (default: %(default)s)")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="only this database")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(measured(options.rows, options.rounds)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in ("sqlite", "postgresql"):
        if options.only in (None, name):
            with database(name, options.folder, options.rows) as url:
                show(name, in_process(options, url))


@contextlib.contextmanager
def database(name: str, folder: Path, rows: int) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder}/queries-{rows}.sqlite3"
    else:
        with postgresql() as url:
            yield url


def in_process(options: argparse.Namespace, url: str) -> dict[str, Any]:
    """`measured` in a process of its own: settings are read once."""
    variables = os.environ | {
        "DATABASE_URL": url, "DATA_DIR": str(options.folder / f"var-{free_port()}"), "API_RATE": "100000/s",
        "DJANGO_SETTINGS_MODULE": "anomaly_site.settings",
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.queries", "--ask", url]
    command += ["--rows", str(options.rows), "--rounds", str(options.rounds)]
    done = subprocess.run(command, cwd=ROOT, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(name: str, found: dict[str, Any]) -> None:
    times = found.pop("ms")
    print(f"\n{name}: {json.dumps(found)}, load average {os.getloadavg()[0]:.1f}")
    for query, (median, p95, cpu, rows) in times.items():
        print(f"  {query:34}{median:9.1f}{p95:9.1f}{cpu:9.1f}{rows:6}")


def measured(rows: int, rounds: int) -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from market.upkeep import analyse

    call_command("migrate", verbosity=0)
    took = filled(rows)
    if connection.vendor == "postgresql":
        connection.cursor().execute("ANALYZE")
    analyse()
    client = Client(HTTP_HOST="localhost")
    collect_as_the_server()
    times: dict[str, Any] = {}
    for name, query in QUERIES.items():
        each, cpu, answer = [], [], None
        for _ in range(rounds):
            started, used = time.perf_counter(), time.process_time()
            answer = client.get(query)
            each.append((time.perf_counter() - started) * 1000)
            cpu.append((time.process_time() - used) * 1000)
        assert answer is not None
        results = answer.json().get("results", answer.json()) if answer.status_code == 200 else answer.status_code
        count = len(results) if isinstance(results, list | dict) else -results
        times[name] = (round(statistics.median(each), 1), p95(each), p95(cpu), count)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        else:
            cursor.execute("SELECT pg_database_size(current_database())")
        size = cursor.fetchone()[0]
    return {"rows": rows, "gigabytes": round(size / 1e9, 2), "stored_us_per_row": took, "ms": times}


def collect_as_the_server() -> None:
    """Garbage, as `anomaly_site.asgi.lifespan` does: a collection of all that Django is takes 90 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def p95(times: list[float]) -> float:
    return round(sorted(times)[max(0, round(0.95 * len(times)) - 1)], 1)


def filled(rows: int) -> float | None:
    """Fill the table up to so many rows; µs of time per row, None if it was full."""
    from alerts.models import Alert
    from alerts.services import store
    from market.models import ReviewState

    first = Alert.objects.count()
    spent = 0.0
    for start in range(first, rows, _BATCH):
        messages = [alert(number, rows) for number in range(start, min(start + _BATCH, rows))]
        started = time.perf_counter()
        for at in range(0, len(messages), 500):
            store(messages[at : at + 500])
        spent += time.perf_counter() - started
    if first < rows:
        for state, digit in ((ReviewState.RESOLVED, "077"), (ReviewState.FALSE_POSITIVE, "033")):
            Alert.objects.filter(pk__endswith=digit).update(review_state=state)
    return round(1e6 * spent / (rows - first), 1) if first < rows else None


def alert(number: int, rows: int) -> Any:
    """The `number`th alert: 1 KB."""
    from market.services import sequenced
    from market.wire.messages import Alert, Direction, Explanation, Lifecycle, Method, Severity, SourceKind

    chance = random.Random(number)
    symbol = "RAREUSDT" if number % 100_003 == 17 else f"S{chance.randrange(SYMBOLS):03d}USDT"
    rare = number % 20_011 == 5
    methods = [method for method in Method if method != "EXTERNAL"]
    at = _END_MS - round((rows - number) * 86_400_000 / A_DAY)
    message = Alert(
        id=f"{symbol}-1m-z-{number:09d}", revision=1, symbol=symbol,
        venue="okx" if rare else chance.choice(("binance", "bybit")),
        interval="5m" if number % 30_011 == 9 else chance.choice(("1s", "1m")),
        method=methods[0] if rare else chance.choice(methods),
        direction=Direction.UP if rare else chance.choice((Direction.UP, Direction.DOWN)),
        severity=chance.choices(list(Severity), (60, 25, 10, 5))[0],
        score=6.5, threshold=4.0, price=100.0, expected=98.0, lower=96.0, upper=99.0,
        change_pct=2.0, timestamp=at, detected_at=at + 40, incident=None,
        state=Lifecycle.OPEN if number > rows - 500 else Lifecycle.CLOSED,
        spark=[round(100 + chance.random(), 3) for _ in range(60)], explanation=Explanation(sentence="s" * 120),
        source=SourceKind.REPLAY if number % 25_013 == 3 else SourceKind.LIVE,
    )  # fmt: skip
    return sequenced(1, number + 1, message)


if __name__ == "__main__":
    main()
