"""Sectors from CoinGecko: its categories, the coins in them, and which of several coins a ticker means.

A refresh makes about forty calls at the rate the plan allows, to `/coins/categories/list`, `/coins/list` and
`/coins/markets` (https://docs.coingecko.com/reference/endpoint-overview). `urllib` makes them in a thread, through the
proxy that the environment names. `urllib3.Retry` decides whether to try again and how long to wait. It only decides:
a connection pool with it would sleep in the thread, where neither Ctrl-C nor `stop` reaches it, would ignore the rate,
and would not retry an answer that is not JSON.
"""

import asyncio
import http.client
import logging
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar, cast

import msgspec
from msgspec import Struct
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader, MaxRetryError

from market.files import PRIVATE, replacing
from market.wire.symbols import unify_ticker

logger = logging.getLogger(__name__)

SOURCE: Final = "coingecko"

# Our sectors, and the categories that make them up, by id or by name (CoinGecko renames both now and then).
SECTORS: Final[Mapping[str, Sequence[str]]] = {
    "Layer 1": ("layer-1", "Layer 1 (L1)"),
    "Layer 2": ("layer-2", "Layer 2 (L2)"),
    "DeFi": ("decentralized-finance-defi", "Decentralized Finance (DeFi)"),
    "DEX": ("decentralized-exchange", "Decentralized Exchange (DEX)"),
    "Lending": ("lending-borrowing", "Lending/Borrowing Protocols"),
    "Liquid Staking": ("liquid-staking-governance-tokens", "Liquid Staking Governance Tokens"),
    "Meme": ("meme-token", "Meme"),
    "AI": ("artificial-intelligence", "Artificial Intelligence (AI)"),
    "Gaming": ("gaming", "Gaming (GameFi)"),
    "NFT": ("non-fungible-tokens-nft", "NFT"),
    "RWA": ("real-world-assets-rwa", "Real World Assets (RWA)"),
    "Infrastructure": ("infrastructure", "Infrastructure", "depin", "DePIN"),
    "Interoperability": (
        "interoperability",
        "Interoperability",
        "cross-chain-communication",
        "Cross-chain Communication",
    ),
    "Oracle": ("oracle", "Oracle"),
    "Storage": ("storage", "Storage"),
    "Privacy": ("privacy-coins", "Privacy Coins"),
    "Payments": ("payment-solutions", "Payment Solutions"),
    "Exchange": ("centralized-exchange-token-cex", "Centralized Exchange (CEX) Token"),
    "Fan Token": ("fan-token", "Fan Token"),
}
PER_PAGE: Final = 250
# Pages of the whole market, largest coins first: enough to decide which coin a venue's ticker means.
MARKET_PAGES: Final = 4
CATEGORY_PAGES: Final = 2

TRIES: Final = 6
# Waits of 0, 4, 8, 16 and 32 s and up to 2 s of jitter, or what `Retry-After` says if that is longer.
RETRIES: Final = Retry(
    total=TRIES - 1,
    status_forcelist=(408, 429, *range(500, 600)),
    backoff_factor=2.0,
    backoff_max=60.0,
    backoff_jitter=2.0,
)
# A longer `Retry-After` ends the refresh.
MAX_WAIT_S: Final = 120.0
# Younger answers are reused, so that an interrupted refresh continues where it stopped.
CACHE_S: Final = 6 * 3_600.0
MAX_ANSWER_BYTES: Final = 32 << 20


class ApiPlan(NamedTuple):
    root: str
    header: str
    per_minute: float


PLANS: Final[Mapping[str, ApiPlan]] = {
    "demo": ApiPlan("https://api.coingecko.com/api/v3", "x-cg-demo-api-key", 30.0),
    "pro": ApiPlan("https://pro-api.coingecko.com/api/v3", "x-cg-pro-api-key", 300.0),
}
KEYLESS_PER_MINUTE: Final = 5.0


class CoinGeckoError(Exception):
    """The sectors could not be fetched. The text says why and what to do."""


class NoSuchCategory(CoinGeckoError):
    """CoinGecko does not know this category (HTTP 400 or 404)."""


class Category(Struct, frozen=True):
    category_id: str
    name: str


class ListedCoin(Struct, frozen=True):
    id: str
    symbol: str | None = None


class CoinMarket(Struct, frozen=True):
    id: str
    symbol: str | None = None
    name: str | None = None
    market_cap_rank: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None


class Coin(NamedTuple):
    """The coin that a ticker means. `namesakes`: the number of other listed coins with the same ticker."""

    base: str
    coin_id: str
    name: str
    rank: int | None
    namesakes: int
    sectors: tuple[str, ...]


@dataclass(frozen=True)
class Fetched:
    """`fetched_at`: epoch ms of the oldest answer in it. `missing`: our sectors that CoinGecko has no category for."""

    coins: list[Coin]
    fetched_at: int
    missing: list[str]


Answer = TypeVar("Answer")
Say = Callable[[int, int, str], None]


class CoinGecko:
    """The endpoints we use, paced, retried and cached. Every method raises `CoinGeckoError`.

    `retries` says how often to try and how long to wait before each further try; a longer `Retry-After` of the server
    is waited for. `cache` is a folder.
    """

    def __init__(
        self,
        *,
        api_key: str,
        plan: str,
        cache: Path | None,
        retries: Retry = RETRIES,
        root: str = "",
        per_minute: float | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        if plan not in PLANS:
            raise CoinGeckoError(f"COINGECKO_PLAN={plan} is not a plan. Set it to {' or '.join(PLANS)}.")
        chosen = PLANS[plan]
        self.root = (root or chosen.root).rstrip("/")
        if not self.root.startswith(("https://", "http://")):
            raise CoinGeckoError(f"COINGECKO_URL={root} is not an http:// or https:// address.")
        # Redirects are refused: one would send the key to another address.
        self._headers = {"Accept": "application/json", "User-Agent": "anomaly-site"}
        if api_key:
            self._headers[chosen.header] = api_key
        self._pause_s = 60.0 / (per_minute or (chosen.per_minute if api_key else KEYLESS_PER_MINUTE))
        self._next_call = 0.0
        self._cache = cache
        self._retries = retries
        self._timeout_s = timeout_s
        self.oldest_s = math.inf
        self.calls = 0

    async def categories(self) -> list[Category]:
        return await self._get("/coins/categories/list", {}, list[Category])

    async def coins(self) -> list[ListedCoin]:
        return await self._get("/coins/list", {}, list[ListedCoin])

    async def markets(self, page: int, category: str = "") -> list[CoinMarket]:
        """Up to `PER_PAGE` coins, largest first; fewer on the last page, none behind it."""
        query = {"vs_currency": "usd", "order": "market_cap_desc", "per_page": PER_PAGE, "page": page}
        return await self._get("/coins/markets", query | ({"category": category} if category else {}), list[CoinMarket])

    def forget_old_answers(self) -> None:
        if self._cache is not None and self._cache.is_dir():
            for path in self._cache.iterdir():
                if time.time() - path.stat().st_mtime > CACHE_S:
                    path.unlink(missing_ok=True)

    async def _get(self, path: str, query: Mapping[str, Any], kind: type[Answer]) -> Answer:
        url = f"{self.root}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        if (known := self._cached(url)) is not None:
            fetched_s, body = known
            self.oldest_s = min(self.oldest_s, fetched_s)
            return msgspec.json.decode(body, type=kind)
        retries = self._retries
        while True:
            await self._pace()
            asked_s = time.time()
            try:
                body = await asyncio.to_thread(self._fetch, url)
                answer = _decoded(body, kind)
            except _TryLater as failure:
                retries, delay_s = self._next(retries, path, failure)
                logger.info("CoinGecko %s failed: %s; next try in %.0f s", path, failure, delay_s)
                await asyncio.sleep(delay_s)
            else:
                await asyncio.to_thread(self._keep, url, body)
                self.oldest_s = min(self.oldest_s, asked_s)
                return answer

    def _next(self, retries: Retry, path: str, failure: "_TryLater") -> tuple[Retry, float]:
        """What is left of the retries after a failure, and the seconds to wait. Raises `CoinGeckoError` at the end."""
        if failure.wait_s > MAX_WAIT_S:
            raise CoinGeckoError(f"CoinGecko's rate limit is used up. Try again in {failure.wait_s:.0f} s.") from None
        try:
            left = retries.increment("GET", path, error=failure)
        except MaxRetryError:
            tries = len(retries.history) + 1
            raise CoinGeckoError(
                f"CoinGecko at {self.root} did not answer {path} in {tries} tries; the last error: {failure}."
            ) from None
        return left, max(left.get_backoff_time(), failure.wait_s)

    async def _pace(self) -> None:
        now = time.monotonic()
        start = max(now, self._next_call)
        self._next_call = start + self._pause_s
        await asyncio.sleep(start - now)

    def _fetch(self, url: str) -> bytes:
        """Make one call; blocks. An answer that trickles is given up after the same time as one that never comes.

        Raises `_TryLater` or `CoinGeckoError`.
        """
        self.calls += 1
        until = time.monotonic() + self._timeout_s
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - http(s) is checked above
        try:
            with _opener.open(request, timeout=self._timeout_s) as response:
                parts: list[bytes] = []
                size = 0
                while part := response.read1(1 << 16):
                    parts.append(part)
                    size += len(part)
                    if time.monotonic() > until:
                        raise TimeoutError
                    if size > MAX_ANSWER_BYTES:
                        raise CoinGeckoError(
                            f"CoinGecko's answer to {url} is larger than {MAX_ANSWER_BYTES >> 20} MiB."
                        )
                # The number that Python's client has read from the header, less what came: 0 unless it was cut off.
                if response.length:
                    raise OSError("the answer was cut off")
                return b"".join(parts)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error, url) from None
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            raise _TryLater(_in_words(error)) from None

    def _cached(self, url: str) -> tuple[float, bytes] | None:
        """Return (time of the call in epoch seconds, answer) if a cached answer is young enough."""
        if self._cache is None:
            return None
        path = self._cache / _file_name(url)
        try:
            fetched_s = path.stat().st_mtime
            return (fetched_s, path.read_bytes()) if time.time() - fetched_s < CACHE_S else None
        except OSError:
            return None

    def _keep(self, url: str, body: bytes) -> None:
        """Cache an answer. A failure is logged: it costs a repeated call, not the refresh."""
        if self._cache is None:
            return
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(self._cache / _file_name(url), PRIVATE) as file:
                file.write(body)
        except OSError as error:
            logger.warning(
                "Cannot cache CoinGecko's answer in %s: %s; the refresh continues without", self._cache, error
            )


class _TryLater(Exception):
    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener: Final = urllib.request.build_opener(_NoRedirects)


def _refusal(error: urllib.error.HTTPError, url: str) -> Exception:
    said = _message(error)
    if RETRIES.is_retry("GET", error.code):
        reason = "HTTP 429, too many calls" if error.code == 429 else f"HTTP {error.code}"
        return _TryLater(reason, retry_after_s(error.headers.get("Retry-After")))
    if error.code in (401, 403):
        return CoinGeckoError(
            f"CoinGecko rejected the API key (HTTP {error.code}{said}). Check COINGECKO_API_KEY, and that "
            "COINGECKO_PLAN (demo or pro) is the plan of this key."
        )
    kind = NoSuchCategory if error.code in (400, 404) else CoinGeckoError
    return kind(f"CoinGecko answered {url} with HTTP {error.code}{said}.")


def _decoded(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _TryLater(f"the answer has an unexpected format ({error})") from None


def _message(error: urllib.error.HTTPError) -> str:
    """Return the error message in the body, which is `{"status": {"error_message": …}}` or `{"error": …}`."""
    try:
        # What comes at once: a server may also send a byte now and then.
        body = msgspec.json.decode(cast(http.client.HTTPResponse, error.fp).read1(10_000))
        text = body.get("error") or body["status"]["error_message"]
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        RecursionError,
        OSError,
        http.client.HTTPException,
        AttributeError,
        KeyError,
        TypeError,
    ):
        return ""
    return f": {''.join(char for char in str(text)[:200] if char.isprintable())}"


def retry_after_s(header: str | None) -> float:
    """Seconds to wait by a `Retry-After` header: a number or an HTTP date (RFC 9110 §10.2.3). 0 without a valid one.

    >>> retry_after_s("30"), retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT"), retry_after_s("soon"), retry_after_s(None)
    (30.0, 0.0, 0.0, 0.0)
    """
    try:
        return float(RETRIES.parse_retry_after(header)) if header else 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    reason = getattr(error, "reason", error)
    return str(reason) or type(error).__name__


def _file_name(url: str) -> str:
    return f"{blake2b(url.encode(), digest_size=16).hexdigest()}.json"


# --- From categories to sectors --------------------------------------------------------------------------------------


async def fetch_sectors(client: CoinGecko, say: Say = lambda done, total, what: None) -> Fetched:
    """Fetch all coins with their sectors. `say` is called before every step: (steps done, all steps, this step).

    A category that no longer exists is skipped. Raises `CoinGeckoError` on any other failure.
    """
    client.forget_old_answers()
    say(0, 0, "categories")
    chosen, missing = categories_of_sectors(await client.categories())
    if not chosen:
        raise CoinGeckoError("None of CoinGecko's categories belongs to a sector: this is not its list of categories.")
    total = 2 + MARKET_PAGES + CATEGORY_PAGES * sum(len(ids) for ids in chosen.values())
    done = 1
    say(done, total, "coins")
    listed = await client.coins()
    done += 1
    markets = []
    for page in range(1, MARKET_PAGES + 1):
        say(done, total, f"the whole market, page {page}")
        markets += await client.markets(page)
        done += 1
    members: dict[str, list[str]] = {}
    for sector, ids in chosen.items():
        for category in ids:
            say(done, total, f"{sector}: {category}")
            try:
                found = await _members(client, category)
            except NoSuchCategory as error:
                logger.warning("Sector %s: a category is skipped. %s", sector, error)
                found = []
            done += CATEGORY_PAGES
            markets += found
            for coin in found:
                sectors = members.setdefault(coin.id, [])
                if sector not in sectors:
                    sectors.append(sector)
    say(total, total, "done")
    return Fetched(meanings(markets, members, listed), int(client.oldest_s * 1000), missing)


async def _members(client: CoinGecko, category: str) -> list[CoinMarket]:
    found: list[CoinMarket] = []
    for page in range(1, CATEGORY_PAGES + 1):
        part = await client.markets(page, category)
        found += part
        if len(part) < PER_PAGE:
            break
    return found


def categories_of_sectors(categories: Iterable[Category]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the ids of the existing categories by sector, and the sectors without any category."""
    ids = {spelling: category.category_id for category in categories for spelling in _spellings(category)}
    chosen = {
        sector: list(dict.fromkeys(ids[word.lower()] for word in words if word.lower() in ids))
        for sector, words in SECTORS.items()
    }
    return {sector: found for sector, found in chosen.items() if found}, [s for s, found in chosen.items() if not found]


def _spellings(category: Category) -> tuple[str, str]:
    return category.name.lower(), category.category_id.lower()


def meanings(
    markets: Iterable[CoinMarket], members: Mapping[str, Sequence[str]], listed: Iterable[ListedCoin]
) -> list[Coin]:
    """Return the coin that each ticker means: the one with the best market-cap rank. Largest first.

    `members`: coin id → its sectors. A ticker whose largest coin has no sector is skipped, even if a smaller coin with
    the same ticker has one: venues list the largest.
    """
    best: dict[str, CoinMarket] = {}
    for market in markets:
        base = unify_ticker(market.symbol or "")
        if base and (base not in best or _place(market) < _place(best[base])):
            best[base] = market
    names = Counter(unify_ticker(symbol) for symbol in {coin.id: coin.symbol or "" for coin in listed}.values())
    return [
        Coin(
            base,
            market.id[:100],
            (market.name or market.id).replace("\0", "")[:100],  # PostgreSQL stores no NUL, and JSON may carry one
            market.market_cap_rank,
            max(0, names[base] - 1),
            tuple(members[market.id]),
        )
        for base, market in sorted(best.items(), key=lambda item: _place(item[1]))
        if market.id in members
    ]


def _place(market: CoinMarket) -> tuple[float, str]:
    return (math.inf if market.market_cap_rank is None else market.market_cap_rank), market.id
