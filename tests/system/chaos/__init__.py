"""Faults against real processes: what is acknowledged is stored, clients miss and repeat nothing, status names it.

`make chaos` runs every row of `faults.ROWS`; `test_chaos.py` the short ones. docs/operations.md has the table.
"""
