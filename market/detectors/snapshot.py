"""What a detector has learnt, out and back in, bit for bit: a restart need not warm up again."""

from collections.abc import Iterator
from copy import deepcopy
from math import prod
from typing import Any, ClassVar, Final, cast

import msgspec
import numpy as np

Snapshot = dict[str, Any]

_LENGTH_BYTES: Final = 8


class Stateful:
    """An object whose memory is the attributes named in `KEPT`: arrays, plain values, or `Stateful` objects."""

    KEPT: ClassVar[tuple[str, ...]] = ()

    def snapshot(self) -> Snapshot:
        """The object's own arrays, not copies: write them down (`packed`) before it learns on."""
        return {name: _out(getattr(self, name)) for name in self.KEPT}

    def restore(self, state: Snapshot) -> None:
        """Take over a copy of what `state` gave. Raises `ValueError` when it is of something else."""
        if set(state) != set(self.KEPT):
            raise ValueError(f"not the state of a {type(self).__name__}: has {sorted(state)}")
        for name, value in state.items():
            mine = getattr(self, name)
            if isinstance(mine, Stateful):
                mine.restore(value)
            else:
                setattr(self, name, deepcopy(value))


def _out(value: Any) -> Any:
    return value.snapshot() if isinstance(value, Stateful) else value


def packed(state: Snapshot) -> Iterator[bytes | memoryview]:
    """One portable document in pieces: a MessagePack map, its length before it, and the bytes of its arrays behind it.

    The pieces are the arrays' own memory, so that tens of megabytes go into a file without being copied once.
    """
    arrays: list[np.ndarray[Any, Any]] = []

    def encode(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(np.ascontiguousarray(value))
            return {"dtype": value.dtype.str, "shape": value.shape}
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"cannot save a {type(value).__name__}")

    head = msgspec.msgpack.encode(state, enc_hook=encode)
    yield len(head).to_bytes(_LENGTH_BYTES, "little")
    yield head
    for array in arrays:
        yield array.reshape(-1).view(np.uint8).data


def pack(state: Snapshot) -> bytes:
    return b"".join(packed(state))


def unpack(payload: bytes | memoryview) -> Snapshot:
    """The inverse of `pack`. The arrays are read-only views of `payload`. Raises `ValueError` for anything else."""
    end = _LENGTH_BYTES + int.from_bytes(payload[:_LENGTH_BYTES], "little")
    at = end

    def decode(value: Any) -> Any:
        nonlocal at
        if isinstance(value, dict):
            if value.keys() == {"dtype", "shape"}:
                dtype, count = np.dtype(value["dtype"]), prod(value["shape"])
                array = np.frombuffer(payload, dtype, count, at) if count else np.zeros(0, dtype)
                at += array.nbytes
                return array.reshape(value["shape"])
            return {key: decode(item) for key, item in value.items()}
        return [decode(item) for item in value] if isinstance(value, list) else value

    try:
        return cast(Snapshot, decode(msgspec.msgpack.decode(payload[_LENGTH_BYTES:end])))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a saved state: {error}") from error
