"""The pairs in columns and names of files, by the table of symbols (`market.wire.symbols`)."""

from market.wire.exchanges import Kind
from market.wire.symbols import AmbiguousSymbol, Instrument, InvalidSymbol, parse


def read(raw: str, venue: str | None = None) -> Instrument | None:
    """What the text means, as `venue` spells it; None where it is no pair or could be two."""
    try:
        return parse(raw, venue)
    except InvalidSymbol:
        return None


def symbol_of(raw: str) -> str:
    """The pair in our spelling; empty when it has none.

    >>> symbol_of("BTC/USDT:USDT"), symbol_of("BINANCE:BTCUSDT.P"), symbol_of("BTCUSDT_240628")
    ('BTCUSDT', 'BTCUSDT', '')
    """
    found = read(raw)
    return found.symbol if found else ""


def venue_of(raw: str) -> str | None:
    """The venue that the spelling itself names, if any.

    >>> venue_of("BINANCE:BTCUSDT.P"), venue_of("BTC/USDT:USDT")
    ('binanceusdm', None)
    """
    found = read(raw)
    return found.venue if found else None


def why_not(raw: str, venue: str | None = None) -> str:
    """Why this is no pair, in a sentence; empty when it is one."""
    try:
        parse(raw, venue)
    except AmbiguousSymbol as error:
        return f"{error}; of a file, pass {' or '.join(f'--symbol {one}' for one in error.readings)}"
    except InvalidSymbol as error:
        return str(error)
    return ""


def kind_of(pair: Instrument) -> str:
    """`swap` or `inverse` of a perpetual; empty for a spot pair, and where nothing says.

    >>> [kind_of(parse(text)) for text in ("BTC/USDT", "BTC/USDT:USDT", "OKX:BTCUSDT")]
    ['', 'swap', '']
    """
    return "" if pair.kind in (None, Kind.SPOT) else str(pair.kind)


def agree(one: Instrument, other: Instrument) -> bool:
    """Whether two spellings can be meant of one instrument: what only one of them says is no difference.

    >>> agree(parse("XBTUSD"), parse("OKX:BTC-USD")), agree(parse("BTCUSDT"), parse("BTC/USDT:USDT"))
    (True, True)
    >>> agree(parse("OKX:BTCUSDT"), parse("BTC-USDT-SWAP")), agree(parse("BTCUSDT"), parse("BTCUSDC"))
    (True, False)
    """
    pairs = one.symbol == other.symbol or _coins(one) == _coins(other)
    venues = one.venue == other.venue or not (one.venue and other.venue)
    kinds = kind_of(one) == kind_of(other) or not (kind_of(one) and kind_of(other))
    return pairs and venues and kinds


def is_asked(pair: Instrument, asked: Instrument) -> bool:
    """Whether a pair is the one of `--symbol`: `BTC/USDT` is not its swap.

    >>> is_asked(parse("BTC/USDT:USDT"), parse("BTC/USDT")), is_asked(parse("OKX:BTCUSDT"), parse("BTCUSDT"))
    (False, True)
    """
    return agree(pair, asked) and kind_of(pair) == kind_of(asked)


def _coins(pair: Instrument) -> tuple[str, str, int]:
    return pair.base, pair.quote, pair.multiplier
