"""Which incarnation of a stream a position belongs to.

A stream may go back: after a power failure, from a restored disk, or because a damaged block was cut off, it ends
before the position of a reader, or has another message there. Its creation time does not change by that. So a position
also names the message that stands there, and is compared with the stream whenever reading starts, and while it is idle.
A stream that went back is another incarnation: it gets a higher epoch and is read again from its start.

What retention removed is a gap, not another incarnation. Pure.
"""

from typing import NamedTuple


class Position(NamedTuple):
    """A place in a stream: everything up to `offset` of incarnation `epoch` was read.

    `created` is when the server created the stream (epoch ms; 0: as `epoch`, as version 0.1 stored it). `time_us` is
    when the server stored the message at `offset` (epoch µs; 0: unknown), which identifies the message.
    """

    epoch: int = 0
    offset: int = 0
    created: int = 0
    time_us: int = 0

    @property
    def went_back(self) -> bool:
        """Whether this is not the first incarnation of the stream: its messages may have been read before."""
        return self.epoch > self.created


class StreamView(NamedTuple):
    """What a server reports of a stream. `time_us` is of the message at a position's offset; None if it has none."""

    created: int
    last: int
    time_us: int | None


class Resumption(NamedTuple):
    """Where to continue. `fault` is the reason for a new incarnation, empty if it is the same one.

    `repeated_until`: the last message of a stream that went back when that was found out; 0 if it did not go back.
    """

    position: Position
    fault: str = ""
    repeated_until: int = 0


def resumed(position: Position, view: StreamView) -> Resumption:
    """Compare a position with what the server reports now."""
    if not position.epoch:
        return Resumption(Position(view.created, 0, view.created))
    if fault := _fault(position, view):
        epoch = max(view.created, position.epoch + 1)
        return Resumption(Position(epoch, 0, view.created), fault, 0 if _is_new(position, view) else view.last)
    time_us = position.time_us or view.time_us or 0
    return Resumption(position._replace(created=view.created, time_us=time_us))


def _fault(position: Position, view: StreamView) -> str:
    if _is_new(position, view):
        return "it was created again"
    if view.last < position.offset:
        return f"it ends at message {view.last}, and message {position.offset} was read before"
    if view.time_us is not None and position.time_us and view.time_us != position.time_us:
        return f"message {position.offset} is not the one that was read before"
    return ""


def _is_new(position: Position, view: StreamView) -> bool:
    return view.created != (position.created or position.epoch)
