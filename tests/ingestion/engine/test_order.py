"""The same candles give the same anomalies, in whatever order the symbols stand and whatever they are called."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.engine.engine import Engine
from market.wire.messages import CandleBatch
from tests.market.recordings import Returns, names, recording

SYMBOLS = 30
CANDLES = 220
LISTED = 60
SECTORS = {name: (f"sector-{i % 4}",) for i, name in enumerate(names(SYMBOLS))}


def eventful(returns: Returns, volumes: Returns) -> None:
    """Two pumps, a drift, a burst of volume, a crash, and pairs that hardly move."""
    returns[150, 3] += 0.15
    volumes[150:155, 3] *= 60
    returns[120:160, 7] += 0.0025
    returns[130, 11] -= 0.02
    volumes[170:173, 9] *= 50
    returns[190:193] -= 0.02
    volumes[190:193] *= 8
    returns[:, 20:23] *= 0.01


BATCHES = list(recording(SYMBOLS, CANDLES, inject=eventful))


def late(batches: Iterable[CandleBatch], column: int) -> Iterator[CandleBatch]:
    """One symbol is listed an hour later than the others, and another one trades in every second minute."""
    for number, batch in enumerate(batches):
        absent = {column} if number < LISTED else set()
        absent |= {(column + 1) % SYMBOLS} if number % 2 else set()
        yield batch.only(row for row in range(SYMBOLS) if row not in absent)


def said(batches: Iterable[CandleBatch], names: dict[str, str]) -> list[Any]:
    """Every revision, symbols under the names that they had."""
    engine = Engine("test", "1m", lambda symbol: SECTORS[names[symbol]])
    found: list[Any] = []
    for batch in batches:
        messages = msgspec.to_builtins(engine.update(batch, batch.close_time))
        assert engine.stress_index is None or engine.stress_index.universe
        text = re.sub(r"X\d+XUSDT", lambda name: names[name[0]], msgspec.json.encode(messages).decode())
        found.append(sorted((_plain(message) for message in msgspec.json.decode(text)), key=str))
        found.append(msgspec.to_builtins(engine.stress_index))
    return found


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """Symbols by name: a list of them is in the order in which they were first seen."""
    if "affected_symbols" in message:
        changes = message.get("changes_pct") or [0.0] * len(message["affected_symbols"])
        message["affected_symbols"] = sorted(zip(message["affected_symbols"], changes, strict=True))
        message["changes_pct"] = None
    return message


def arranged(batches: Iterable[CandleBatch], order: list[int], called: dict[str, str]) -> Iterator[CandleBatch]:
    place = {name: position for position, name in enumerate(np.array(names(SYMBOLS))[order].tolist())}
    for batch in batches:
        batch = batch.only(sorted(range(len(batch.symbols)), key=lambda row: place[batch.symbols[row]]))
        yield msgspec.structs.replace(batch, symbols=[called[name] for name in batch.symbols])


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(SYMBOLS)), numbers=st.permutations(range(SYMBOLS)), column=st.integers(0, 29))
def test_neither_the_place_of_a_symbol_nor_its_name_matters(order: list[int], numbers: list[int], column: int) -> None:
    called = {name: f"X{number}XUSDT" for name, number in zip(names(SYMBOLS), numbers, strict=True)}
    own = {name: name for name in called}
    back = {new: name for name, new in called.items()}
    usual = said(late(BATCHES, column), own)
    assert sum(len(messages) for messages in usual[::2]) > 20
    assert said(arranged(late(BATCHES, column), order, called), back) == usual
