"""What pairs are quoted in: prices and turnovers of one venue may be dollars, bitcoins or won."""

from types import MappingProxyType
from typing import Final

# About what one is worth in US dollars, right within a factor of ten. Used to tell dead pairs from traded ones; no
# amount converted with it is shown.
WORTH: Final = MappingProxyType(
    dict.fromkeys(("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDE", "USD1", "USDP", "USDD", "USD", "DAI"), 1.0)
    | {"BTC": 30_000.0, "XBT": 30_000.0, "ETH": 2_000.0, "BNB": 400.0, "SOL": 100.0}
    | {"XRP": 1.0, "DOGE": 0.1, "TRX": 0.1}
    | {"EUR": 1.0, "GBP": 1.0, "CHF": 1.0, "AUD": 0.7, "CAD": 0.7, "SGD": 0.7, "PLN": 0.2, "BRL": 0.2, "MXN": 0.05}
    | {"ZAR": 0.05, "TRY": 0.03, "UAH": 0.03, "THB": 0.03, "INR": 0.01, "RUB": 0.01, "JPY": 0.007, "ARS": 0.001}
    | {"KRW": 0.0007, "IDR": 0.00006, "VND": 0.00004}
)
# Longer names first: BTCFDUSD is not BTCFD against USD.
QUOTES: Final = tuple(sorted(WORTH, key=lambda quote: (-len(quote), quote)))
_DOLLARS: Final = frozenset(quote for quote in QUOTES if "USD" in quote or quote == "DAI")
# Money of states, also what no pair here is quoted in: it is never the coin of a pair against a coin.
FIAT: Final = frozenset(
    """AED ARS AUD BDT BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP GEL GHS HKD HUF IDR ILS INR JPY KES KRW KWD KZT
    LKR MAD MXN MYR NGN NOK NZD PEN PHP PKR PLN QAR RON RUB SAR SEK SGD THB TRY TWD UAH UGX USD UYU VND XAF XOF ZAR
    ZMW""".split()  # noqa: SIM905
)


def quote_of(symbol: str) -> str:
    """What a pair is quoted in, in our spelling; empty when that is nothing known.

    >>> quote_of("BTCFDUSD"), quote_of("XRPBTC"), quote_of("BTC")
    ('FDUSD', 'BTC', '')
    """
    return next((quote for quote in QUOTES if symbol.endswith(quote) and symbol != quote), "")


def worth(symbol: str) -> float:
    """About how many US dollars a unit of the pair's quote is; 1 when that is nothing known."""
    return WORTH.get(quote_of(symbol), 1.0)


def money_text(value: float, symbol: str) -> str:
    """An amount in what the pair is quoted in, three significant digits.

    >>> money_text(1_234_567, "BTCUSDT"), money_text(340.4, "BTCUSD"), money_text(4.617, "ETHBTC")
    ('$1.23M', '$340', '4.62\\xa0BTC')
    """
    quote = quote_of(symbol)
    sign, unit = ("$", "") if quote in _DOLLARS else ("", f"\N{NO-BREAK SPACE}{quote}" if quote else "")
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{sign}{value / size:.3g}{letter}{unit}"
    return f"{sign}{value:.0f}{unit}" if value >= 100 or sign else f"{value:.3g}{unit}"
