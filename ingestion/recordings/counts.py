"""Counts of rows by reason, with examples, for reports."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

EXAMPLES: Final = 3


@dataclass
class Reason:
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, count: int, examples: Iterable[str] = ()) -> None:
        self.count += count
        self.examples += list(examples)[: EXAMPLES - len(self.examples)]


@dataclass
class Counts:
    """Reason in words → how many rows, and the first examples."""

    reasons: dict[str, Reason] = field(default_factory=dict)

    def add(self, reason: str, count: int, examples: Iterable[str] = ()) -> None:
        if count:
            self.reasons.setdefault(reason, Reason()).add(count, examples)

    def update(self, other: "Counts") -> None:
        for name, reason in other.reasons.items():
            self.add(name, reason.count, reason.examples)

    @property
    def total(self) -> int:
        return sum(reason.count for reason in self.reasons.values())

    def text(self, examples: int = 0) -> str:
        """`high below low 3, duplicate 1`, with up to so many examples each; empty without a row."""
        return ", ".join(
            f"{name} {reason.count:,}"
            + (f" ({'; '.join(reason.examples[:examples])})" if examples and reason.examples else "")
            for name, reason in sorted(self.reasons.items(), key=lambda item: -item[1].count)
        )

    def figures(self) -> Mapping[str, Any]:
        return {
            name: {"rows": reason.count, "examples": list(reason.examples)} for name, reason in self.reasons.items()
        }
