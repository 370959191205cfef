"""The only imports of modules that may move: everything else in `tests/compat` goes through commands and URLs."""

from market.wire.decoding import decode_alert, decode_batch, decode_feed, decode_market, decode_stress
from market.wire.messages import CandleBatch, encode

__all__ = [
    "CandleBatch",
    "decode_alert",
    "decode_batch",
    "decode_feed",
    "decode_market",
    "decode_stress",
    "encode",
]
