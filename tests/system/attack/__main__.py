"""Attack a running system on loopback; one line for each attack: inputs, what became of them, memory, verdict.

    python -m tests.system.attack [--only NAME[,NAME…]] [--seed N] [--scale 0.1]

`handshakes`: changed WebSocket handshakes; none may be accepted that the `websockets` library refuses. `frames`:
changed frames and requests. `unfinished`: frames that declare 15 MB. `messages`: changed messages in NATS. `slow`:
connections that send nothing, or a byte now and then. `idle`: what a WebSocket that only listens costs.

The system is `manage.py up --only nats,bridge,web` with a folder of its own and its usual limits; only
`WS_MAX_MESSAGES_PER_SECOND` is raised, so that frames get to the parser. After each attack an alert must still get from
NATS through the database to a client, and the log must have no traceback. Memory is that of the process that serves
(Linux). The exit code is 1 if an attack succeeded.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.servers import missing_files, rss_kb
from tests.system.attack.connections import idle, slow
from tests.system.attack.frames import frames, unfinished
from tests.system.attack.handshakes import handshakes
from tests.system.attack.messages import messages
from tests.system.attack.target import Attack, Found, Target, arrives, target
from tests.system.conftest import System

# What the process may have more after an attack than before it.
_MORE_KB: Final = 48 * 1024

ATTACKS: Final[dict[str, tuple[Attack, int]]] = {
    # Idle first: later connections use memory again that earlier ones gave back.
    "idle": (idle, 1_000),
    "handshakes": (handshakes, 10_000),
    "frames": (frames, 100_000),
    "unfinished": (unfinished, 200),
    "slow": (slow, 1_000),
    "messages": (messages, 20_000),
}


def failures(log: Sequence[str]) -> list[str]:
    """The errors that tracebacks in the log end with; Django's own for a foreign `Host` is one it should write."""
    ends, inside = [], False
    for line in log:
        if inside and line and not line[0].isspace():
            ends.append(line)
        inside = line.startswith("Traceback") or (inside and (not line or line[0].isspace()))
    return [line for line in ends if "DisallowedHost" not in line and not line.startswith("Traceback")]


async def run(on: Target, name: str, attack: Attack, chance: random.Random, count: int) -> tuple[str, bool]:
    """The line of an attack, and whether the system withstood it."""
    await arrives(on)
    before, started, logged = rss_kb(on.pid), time.monotonic(), len(on.up.lines)
    try:
        found = await attack(on, chance, count)
        await arrives(on)
    except TimeoutError:
        found = Found(count, wrong=["the system did not answer in time"])
    ended = on.up.process.poll()
    if ended is not None:
        raise SystemExit(f"{name}: the system ended with {ended}:\n{on.up.output[-5_000:]}")
    after = rss_kb(on.pid)
    found.wrong += failures(on.up.lines[logged:])
    found.wrong += ["memory grew"] * (after - before > _MORE_KB and name != "idle")
    became = ", ".join(f"{what} {number:,}" for what, number in found.became.most_common())
    memory = f"{before / 1024:.0f} → {after / 1024:.0f} MB"
    line = f"{name}: {found.inputs:,} inputs in {time.monotonic() - started:.0f} s ({became}), memory {memory}: "
    line += "withstood" if not found.wrong else f"SUCCEEDED {len(found.wrong):,} times"
    return "\n".join((line, *(f"    {each}" for each in found.wrong[:5]))), not found.wrong


def chosen(text: str | None) -> Iterator[str]:
    for name in text.split(",") if text else ATTACKS:
        if name not in ATTACKS:
            raise SystemExit(f"{name} is unknown; expected some of {','.join(ATTACKS)}")
        yield name


async def attack(options: argparse.Namespace) -> bool:
    names = list(chosen(options.only))
    if missing := missing_files(4_000):
        print(missing, file=sys.stderr)
    withstood = True
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="attack-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder) / "data")
        if (done := system.run("migrate", "--verbosity", "0")).returncode:
            raise SystemExit(done.stderr)
        async with target(system) as on:
            for name in names:
                one, count = ATTACKS[name]
                count = max(100, round(count * options.scale))
                line, held = await run(on, name, one, random.Random(f"{options.seed} {name}"), count)
                print(line, flush=True)
                withstood &= held
    return withstood


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"attacks to run, comma-separated (default: {','.join(ATTACKS)})")
    parser.add_argument("--seed", type=int, default=22, help="what is drawn (default: 22)")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the inputs, such as 0.1 (default: 1)")
    options = parser.parse_args()
    sys.exit(not asyncio.run(attack(options)))


if __name__ == "__main__":
    main()
