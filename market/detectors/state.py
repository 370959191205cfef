"""What a detector has learnt, out and back in, bit for bit: a restart need not warm up again."""

from copy import deepcopy
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

State = dict[str, Any]


class Stateful:
    """An object whose memory is the attributes named in `KEPT`: arrays, plain values, or `Stateful` objects."""

    KEPT: ClassVar[tuple[str, ...]] = ()

    def state(self) -> State:
        """Arrays are copied; the result does not change when the object learns on."""
        return {name: _out(getattr(self, name)) for name in self.KEPT}

    def restore(self, state: State) -> None:
        """Take over what `state` gave. Raises `ValueError` when it is of something else."""
        if set(state) != set(self.KEPT):
            raise ValueError(f"not the state of a {type(self).__name__}: has {sorted(state)}")
        for name, value in state.items():
            mine = getattr(self, name)
            if isinstance(mine, Stateful):
                mine.restore(value)
            else:
                setattr(self, name, _out(value))


def _out(value: Any) -> Any:
    if isinstance(value, Stateful):
        return value.state()
    return deepcopy(value)


def pack(state: State) -> bytes:
    """One portable MessagePack document."""
    return msgspec.msgpack.encode(state, enc_hook=_encode)


def unpack(payload: bytes) -> State:
    """The inverse of `pack`. Raises `ValueError` for anything else."""
    try:
        return cast(State, _decode(msgspec.msgpack.decode(payload)))
    except (msgspec.MsgspecError, TypeError, KeyError) as error:
        raise ValueError(f"not a saved state: {error}") from error


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": value.shape, "data": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot save a {type(value).__name__}")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "data"}:
            return np.frombuffer(value["data"], dtype=np.dtype(value["dtype"])).reshape(value["shape"]).copy()
        return {key: _decode(item) for key, item in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value
