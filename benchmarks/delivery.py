"""What many routes cost: to find whom anomalies concern, to plan the messages, and to store them.

    python -m benchmarks.delivery [--routes 1000] [--batch 500] [--rounds 5]

`--batch` anomalies arrive at once, as many as the deliverer reads at a time; one of them is market stress. Each row is
the CPU time of this process in ms, the median of `--rounds` batches. `match`: reading the batch through all routes and
following what concerns them. `plan`: the messages that are due a second later. `store`: their rows and the books of the
routes in SQLite, on a disk, in one transaction. The peer asks the filters of `/ws` of every route, one after another,
and does nothing else; `ratio` is its time by that of `match`.

    nobody      every route asks for another symbol, and for alerts only
    venues      every route asks for a venue that is not there
    one         one route gets everything, the others nothing
    few         every route asks for 3 of 320 symbols from HIGH on, and gets market anomalies of this severity
    event       every route gets one market event: stress and a move of all symbols, and nothing else
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.servers import ROOT

_SYMBOLS: Final = [f"S{number}USDT" for number in range(320)]


def measure(routes: int, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    import django

    django.setup()
    return {kind: _kind(kind, routes, batch, rounds) for kind in ("nobody", "venues", "one", "few", "event")}


def _filters(kind: str, number: int, rng: random.Random) -> dict[str, list[str]]:
    match kind:
        case "venues":
            return {"venues": ["kraken"]}
        case "one" if number == 1:
            return {}
        case "few":
            return {"symbols": rng.sample(_SYMBOLS, 3), "severities": ["HIGH", "CRITICAL"]}
        case "event":
            return {"channels": ["market"]}
        case _:
            return {"symbols": [f"X{number}USDT"], "channels": ["alerts"]}


def _anomalies(kind: str, batch: int, first: int) -> list[Any]:
    from market.wire.messages import Severity, SourceKind
    from tests.samples import a_movement, a_stress, an_alert

    live: dict[str, Any] = {"source": SourceKind.LIVE, "venue": "binance"}
    found: list[Any] = [
        an_alert(f"a{first + n}", symbol=_SYMBOLS[n % 320], severity=list(Severity)[n % 4], **live)
        for n in range(batch - 2)
    ]
    if kind == "event":
        changes = [-5.0 - n / 100 for n in range(320)]
        found.append(a_movement(f"m{first}", affected_symbols=_SYMBOLS, changes_pct=changes, universe=320, **live))
    return [*found, a_stress(f"s{first}", severity=Severity.LOW if kind == "few" else Severity.HIGH, **live)]


def _kind(kind: str, number: int, batch: int, rounds: int) -> dict[str, float]:
    from alerts.delivery.routes import Routes, encode_book
    from ingestion.delivery import store
    from ingestion.models import Channel, HistoryPosition, Outgoing, Route
    from ingestion.stream.incarnation import Position
    from market.wire.filters import AlertRoute, MarketRoute
    from market.wire.messages import Alert

    for model in (Outgoing, Route, Channel, HistoryPosition):
        model._default_manager.all().delete()
    rng = random.Random(26)
    channels = [
        Channel.objects.create(name=name, kind=name, address="1", secret="s") for name in ("telegram", "webhook")
    ]
    Route.objects.bulk_create(
        Route(pk=n, name=f"r{n}", channel=channels[n % 10 == 0], filters=_filters(kind, n, rng))
        for n in range(1, number + 1)
    )
    assert store.take_lease(7) is not None
    routes, wanted = Routes(), store.routes()
    for each in wanted.values():
        routes.set(_old(each))
    times: dict[str, list[float]] = {name: [] for name in ("match", "plan", "store", "peer")}
    planned = 0

    def timed(name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        result = work(*arguments)
        times[name].append(1000 * (time.process_time() - start))
        return result

    def match(messages: list[Any], at: int) -> None:
        for message in messages:
            routes.take(message, at, at, signed=True)

    def plan(until: int) -> list[Any]:
        return list(routes.due(until, lambda _: False))

    def keep(found: list[Any], at: int) -> None:
        books = {route: encode_book(routes.book(route)) for route in routes.changed}
        store.store(7, Position(1, at, 1), found, books)
        routes.changed = set()

    def peer(messages: list[Any]) -> None:
        filters = [each.wanted for each in wanted.values()]
        for message in messages:
            if isinstance(message, Alert):
                asked = AlertRoute(message.symbol, message.severity, message.method, message.venue)
                _ = [each for each in filters if each.wants_alert(asked)]
            else:
                market = MarketRoute(message.__struct_config__.tag, message.severity, None, None, message.venue)
                _ = [each for each in filters if each.wants_market(market)]

    for turn in range(rounds + 1):
        at = 1_790_000_000_000 + turn * 7_200_000
        messages = _anomalies(kind, batch, turn * batch)
        timed("match", match, messages, at)
        found = timed("plan", plan, at + 2_000)
        planned = len(found)
        timed("store", keep, found, at)
        timed("peer", peer, messages)
    result = {name: round(statistics.median(each[1:]), 2) for name, each in times.items()}
    return {"planned": planned, **result, "ratio": round(result["peer"] / max(result["match"], 0.01), 1)}


def _old(rules: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(rules, since_ms=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="delivery-") as folder:
        os.environ |= {"DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "anomaly_site.settings", "LOG_LEVEL": "WARNING"}
        os.environ.pop("DATABASE_URL", None)
        subprocess.run([sys.executable, str(ROOT / "manage.py"), "migrate", "-v0"], check=True)
        print(json.dumps(measure(options.routes, options.batch, options.rounds), indent=2))


if __name__ == "__main__":
    main()
