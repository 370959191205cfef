"""Files as people have them, read as candles: layouts, checks, trades to candles, merging.

`read.read` reads files into a `Collector`; `merge` sorts what it holds; `convert` writes it. No Django, no asyncio.
"""
