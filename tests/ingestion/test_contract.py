"""Our detectors keep the contract that those of others are asked to keep."""

from ingestion.contract.test_detectors import *  # noqa: F403
