import pytest

from ingestion.sources.link import load_ccxt


@pytest.fixture(scope="session")
def ccxt_is_loaded() -> None:
    """Once, before the first test looks at a clock: on a busy machine it takes longer than a test waits."""
    load_ccxt()
