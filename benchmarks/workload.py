"""The alerts that the servers get, and the frames each socket should receive; computed without our routing."""

from collections.abc import Sequence
from typing import Final

from benchmarks.servers import Received
from market.wire.messages import Alert, Direction, Explanation, Lifecycle, Method, Severity

SYMBOLS: Final = 200
SEVERITIES: Final = tuple(Severity)
# After so many alerts every symbol came with every severity: a selective socket got exactly one in forty.
CYCLE: Final = 4 * SYMBOLS


def alert(number: int, sentence: str = "") -> Alert:
    """The `number`th alert: 357 bytes, give or take the digits. `sentence` may carry the time (load.c)."""
    return Alert(
        id=f"S{number % SYMBOLS:03d}USDT-{number}", revision=1, symbol=f"S{number % SYMBOLS:03d}USDT",
        venue="binance", interval="1s", method=Method.Z_SCORE, severity=SEVERITIES[number // SYMBOLS % 4],
        direction=Direction.UP, score=6.5, threshold=4.0, price=100.0, expected=98.0, lower=96.0, upper=99.0,
        change_pct=2.0, timestamp=1_700_000_000_000, detected_at=1_700_000_000_040, state=Lifecycle.OPEN, spark=[],
        explanation=Explanation(sentence=sentence), incident=None,
    )  # fmt: skip


def wanted(case: str, number: int) -> tuple[frozenset[int], frozenset[int]]:
    """Symbols and severities of socket `number`, by their numbers; load.c subscribes it so."""
    if case == "broadcast":
        return frozenset(range(SYMBOLS)), frozenset(range(4))
    first = number // 20 % 4
    return frozenset((number * 10 + position) % SYMBOLS for position in range(10)), frozenset((first, (first + 1) % 4))


def fnv(data: bytes, value: int) -> int:
    for byte in data:
        value = (value ^ byte) * 1_099_511_628_211 & 0xFFFF_FFFF_FFFF_FFFF
    return value


def expected_dump(case: str, sockets: int, frames: Sequence[bytes], first: int = 0) -> list[tuple[int, int]]:
    """Frames and hash of every socket after some alerts: `frames` is what load.c hashes of them, `first` their number.

    Computed without any of our routing.
    """
    known: dict[tuple[frozenset[int], frozenset[int]], tuple[int, int]] = {}
    dump = []
    for number in range(sockets):
        symbols, severities = key = wanted(case, number)
        if key not in known:
            count, value = 0, 14_695_981_039_346_656_037
            for message, frame in enumerate(frames, first):
                if message % SYMBOLS in symbols and message // SYMBOLS % 4 in severities:
                    count, value = count + 1, fnv(frame, value)
            known[key] = count, value
        dump.append(known[key])
    return dump


def difference(got: Sequence[Received], expected: Sequence[tuple[int, int]]) -> str:
    """What is wrong with what the sockets got; empty when each got exactly its frames, in order."""
    wrong = [number for number, pair in enumerate(expected) if got[number][:2] != pair]
    if not wrong:
        return ""
    first = wrong[0]
    return f"{len(wrong)} socket(s) got something else, the first is {first}: {got[first]}, not {expected[first]}"
