"""Make recordings that nothing was tuned on from packages that contain candles as test data.

    python benchmarks/unseen.py freqtrade-0.17.1.tar.gz OctoBot-0.4.0b12.tar.gz --out DIRECTORY
    manage.py backtest DIRECTORY/*.parquet --events rule

The two source distributions are on the Python Package Index. Both hold 1 m and 5 m candles of pairs against bitcoin, of
10 to 20 days: of 10 pairs in January 2018 (freqtrade, GPL-3.0, which does not name the venue; the lengths are those
that Bittrex served), and of 6 in July 2018 (OctoBot, LGPL-3.0, which names Bittrex).
"""

import argparse
import io
import json
import re
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet

INTERVALS: Final = ("1m", "5m")
VALUES: Final = ("open", "high", "low", "close", "volume")
# Open time (epoch ms or s), open, high, low, close, volume.
Candle = list[Any]


def candles(archive: Path) -> Iterator[tuple[str, str, Candle]]:
    """(interval, symbol, candle) of every candle in a source distribution of either package."""
    with tarfile.open(archive) as files:
        for member in files:
            content = files.extractfile(member)
            if content is None:
                continue
            if name := re.search(r"/testdata/([A-Z]+)_BTC-(1m|5m)\.json$", member.name):
                # A pair of another year goes by this name.
                if name[1] != "UNITTEST":
                    yield from ((name[2], f"{name[1]}BTC", candle) for candle in json.load(content))
            elif member.name.endswith(".data"):
                yield from _bittrex(content)


def _bittrex(content: io.BufferedReader | Any) -> Iterator[tuple[str, str, Candle]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(content.read())
        [(venue,)] = database.execute("SELECT exchange FROM description")
        if venue != "bittrex":
            return
        rows = database.execute("SELECT time_frame, symbol, candle FROM ohlcv WHERE time_frame IN (?, ?)", INTERVALS)
        for interval, symbol, candle in rows:
            yield interval, symbol.replace("/", ""), json.loads(candle)


def recordings(archive: Path) -> dict[str, pa.Table]:
    """A table for every interval, in the columns that `manage.py backtest` reads."""
    found: dict[str, dict[tuple[int, str], Candle]] = {interval: {} for interval in INTERVALS}
    for interval, symbol, candle in candles(archive):
        opened = int(candle[0])
        found[interval][opened if opened > 1e11 else opened * 1000, symbol] = candle[1:6]
    tables = {}
    for interval, rows in found.items():
        if not rows:
            continue
        ordered = sorted(rows.items())
        columns = {name: [float(values[place]) for _, values in ordered] for place, name in enumerate(VALUES)}
        times = pa.array([opened for (opened, _), _ in ordered], pa.timestamp("ms", "UTC"))
        tables[interval] = pa.table({"ts": times, "symbol": [symbol for (_, symbol), _ in ordered]} | columns)
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path, metavar="SOURCE.tar.gz")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIRECTORY")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for archive in arguments.archives:
        try:
            tables = recordings(archive)
        except (OSError, tarfile.TarError) as error:
            parser.error(f"{archive} is not a readable source distribution: {error}")
        if not tables:
            parser.error(f"{archive} has no candles; --help names packages that have")
        for interval, table in tables.items():
            path = arguments.out / f"{archive.name.partition('-')[0].lower()}_{interval}.parquet"
            pyarrow.parquet.write_table(table, path, compression="zstd")
            print(f"{path}: {table.num_rows:,} candles")


if __name__ == "__main__":
    main()
