"""Counters of the data path in this process, for `/metrics`. Prometheus sees these names.

Every known value of a label starts at 0: Prometheus sees no increase in a series that appears with 1. Where the values
are known only to the part that counts (venues, stores, tasks), that part makes its series when it starts.
"""

from collections.abc import Iterable
from itertools import product
from typing import Final

from prometheus_client import Counter, Gauge, Summary, disable_created_metrics

from market.wire.signing import Verdict

disable_created_metrics()  # type: ignore[no-untyped-call] # one more series per counter

TICKS: Final = Counter(
    "anomalies_ticks",
    "Ticks of live venues by outcome (unreadable: frames; dropped: intervals).",
    ["venue", "outcome"],
)
PUBLISHED: Final = Counter("anomalies_published", "Messages from this process that NATS accepted.", ["kind"])
PUBLISH_RETRIES: Final = Counter("anomalies_publish_retries", "Times that unacknowledged messages were sent again.")
ANALYSIS_SECONDS: Final = Summary("anomalies_analysis_seconds", "Seconds of analysis per batch of candles.")
ANALYSIS_LEFT_OUT: Final = Counter(
    "anomalies_analysis_left_out", "Candles skipped because the analysis had no room for their symbols."
)
ANALYSIS_REFUSED: Final = Counter(
    "anomalies_analysis_refused", "Batches of candles refused because they were ahead of their venue's clock."
)
LEASES: Final = Gauge("anomalies_lease_held", "1 while this process holds the lease (role.venue), else 0.", ["lease"])
LEASE_CHANGES: Final = Counter(
    "anomalies_lease_changes", "Changes of leases of this process: taken or lost (role.venue).", ["lease", "change"]
)
FENCED: Final = Counter(
    "anomalies_fenced", "Messages refused because their publisher had lost its lease of the venue.", ["venue"]
)
OUTBOX_DROPPED: Final = Counter(
    "anomalies_standby_dropped", "Anomalies that a standby of the analysis found and had no room to keep."
)
SNAPSHOT_SECONDS: Final = Summary("anomalies_snapshot_seconds", "Seconds the analysis was paused while it was saved.")
STORED: Final = Counter("anomalies_stored", "Messages stored by the bridge.", ["channel"])
REPEATED: Final = Counter(
    "anomalies_repeated",
    "Messages with a revision that was stored before, or an older one: not stored or sent again.",
    ["channel"],
)
STORE_RETRIES: Final = Counter("anomalies_store_retries", "Times a batch could not be stored and was tried again.")
SEND_FAILURES: Final = Counter(
    "anomalies_send_failures", "Batches that could not be sent; hubs fetch them from the store.", ["channel"]
)
SIGNATURES: Final = Counter(
    "anomalies_signatures",
    "Signable messages read, by signature (signed, unsigned, unknown: key not known here, wrong).",
    ["result"],
)
REJECTED: Final = Counter("anomalies_rejected", "Messages that could not be decoded or stored.", ["kind"])
REJECT_REASONS: Final = Counter(
    "anomalies_reject_reasons", "Rejected messages by reason, without its values (other: more than 50).", ["reason"]
)
HISTORY: Final = Counter(
    "anomalies_history",
    "Rows or points of the time series by outcome (lost: messages).",
    ["sink", "outcome"],
)
DELIVERIES: Final = Counter(
    "anomalies_deliveries",
    "Attempts to send a message to people, by kind of channel and result (sent, failed, dead: given up).",
    ["kind", "result"],
)
DELIVERIES_DOUBTFUL: Final = Counter(
    "anomalies_deliveries_doubtful",
    "Messages sent again although an attempt before a crash may have succeeded.",
    ["kind"],
)
DELIVERY_BUTTONS: Final = Counter(
    "anomalies_delivery_buttons", "Buttons pressed in Telegram, by result (acknowledged, refused).", ["result"]
)
DELIVERY_PICTURES: Final = Counter(
    "anomalies_delivery_pictures",
    "Pictures for messages, by result: drawn, none (no chart), late (the message went without), failed.",
    ["result"],
)
BACKGROUND_RESTARTS: Final = Counter(
    "anomalies_background_restarts", "Times a role or background task failed and was started again.", ["task"]
)
STREAM_LOST: Final = Counter(
    "anomalies_stream_lost", "Messages that a stream had lost or deleted before they were read.", ["stream"]
)
STREAM_RESETS: Final = Counter(
    "anomalies_stream_resets",
    "Times a stream went back or was created again, so that it was read from its start.",
    ["stream"],
)
READER_INTERRUPTIONS: Final = Counter(
    "anomalies_reader_interruptions", "Times that reading a stream was interrupted.", ["stream"]
)
READER_DROPPED: Final = Counter(
    "anomalies_reader_dropped", "Messages dropped because reading was too slow, without JetStream."
)


def at_zero(counter: Counter, *values: Iterable[str]) -> None:
    """Make the series of a counter for all combinations of the values of its labels, one iterable for each label."""
    for each in product(*values):
        counter.labels(*each)


_CHANNELS: Final = ("alerts", "market")
at_zero(PUBLISHED, ("alerts", "market", "candles"))
for _counter in (STORED, REPEATED, SEND_FAILURES):
    at_zero(_counter, _CHANNELS)
at_zero(SIGNATURES, [verdict.value for verdict in Verdict])
at_zero(REJECTED, ("alerts", "market", "candles", "feed", "stress"))
at_zero(REJECT_REASONS, ("other",))
