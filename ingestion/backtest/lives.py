"""Revisions put together: one anomaly from its first to its last."""

from dataclasses import dataclass

import msgspec

from market.wire.messages import Alert, Anomaly


@dataclass
class Life:
    """One anomaly from its first revision to its last, `peak` being the first of its highest severity."""

    first: Anomaly
    peak: Anomaly
    last: Anomaly

    def add(self, anomaly: Anomaly) -> None:
        self.last = anomaly
        if anomaly.severity.rank > self.peak.severity.rank:
            self.peak = anomaly


def add(lives: dict[str, Life], anomaly: Anomaly) -> None:
    """Add a revision to the lives by id."""
    if life := lives.get(anomaly.id):
        life.add(anomaly)
    else:
        lives[anomaly.id] = Life(anomaly, anomaly, anomaly)


def bare(anomaly: Anomaly) -> Anomaly:
    """The anomaly without the history of its chart, which is most of its size."""
    if isinstance(anomaly, Alert) and anomaly.history is not msgspec.UNSET:
        return msgspec.structs.replace(anomaly, history=msgspec.UNSET)
    return anomaly
