"""The fake venue, which others may use too (`docs/venues-of-your-own.md`)."""

from ingestion.contract.fake_venue import FakeVenue, Json, Protocol, Rest, serving

__all__ = ["FakeVenue", "Json", "Protocol", "Rest", "serving"]
