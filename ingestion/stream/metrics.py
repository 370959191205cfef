"""What the data path counts in its process, for `/metrics` (the names are those Prometheus sees)."""

from typing import Final

from prometheus_client import Counter, Summary, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call] # a series per counter that nobody looks at

TICKS: Final = Counter(
    "anomalies_ticks",
    "Ticks of live venues, by what became of them (unreadable: frames; dropped: intervals).",
    ["venue", "outcome"],
)
PUBLISHED: Final = Counter("anomalies_published", "Messages NATS has taken from this process.", ["kind"])
PUBLISH_RETRIES: Final = Counter("anomalies_publish_retries", "Times that messages without an answer were sent again.")
ANALYSIS_SECONDS: Final = Summary("anomalies_analysis_seconds", "Time the analysis took for a batch of candles.")
ANALYSIS_LEFT_OUT: Final = Counter(
    "anomalies_analysis_left_out", "Candles of symbols that the analysis had no room for."
)
SNAPSHOT_SECONDS: Final = Summary("anomalies_snapshot_seconds", "Time the analysis waited while it was saved.")
STORED: Final = Counter("anomalies_stored", "Messages the bridge has stored and sent on.", ["channel"])
STORE_RETRIES: Final = Counter("anomalies_store_retries", "Times the database did not take a batch.")
SEND_FAILURES: Final = Counter("anomalies_send_failures", "Batches that hubs had to fetch from the store.", ["channel"])
REJECTED: Final = Counter("anomalies_rejected", "Messages nobody could read.", ["kind"])
HISTORY: Final = Counter(
    "anomalies_history",
    "Rows or points of the time series (lost: messages), by what became of them.",
    ["sink", "outcome"],
)
BACKGROUND_RESTARTS: Final = Counter(
    "anomalies_background_restarts", "Times a role or background task failed and was started again.", ["task"]
)
READER_INTERRUPTIONS: Final = Counter("anomalies_reader_interruptions", "Times reading a stream broke off.", ["stream"])
READER_DROPPED: Final = Counter("anomalies_reader_dropped", "Messages dropped for want of JetStream and of speed.")
