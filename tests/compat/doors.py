"""The only imports of modules that may move: everything else in `tests/compat` goes through commands and URLs."""

from market.messages import CandleBatch

__all__ = ["CandleBatch"]
