"""A clock that jumps instead of waiting."""

import asyncio


class FakeClock:
    def __init__(self, now_ms: int = 1_760_000_000_000) -> None:
        self.now = float(now_ms)
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        return round(self.now)

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now += seconds * 1_000
        await asyncio.sleep(0)
