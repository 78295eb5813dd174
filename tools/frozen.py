"""What operators are called with and what they answer, as arrays: nothing is drawn again, and no pickle is needed.

``freeze`` lays the arrays of any cases or answers one after the other as bytes and says in JSON what they belong to;
``thaw`` gives the same cases or answers back.
"""

import json
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from drawing import Answer, Case, Observed, Operand, Reals
from drawn_layers import Layer

Frozen = tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]
KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Answer, Case, Layer, Observed, Operand, Reals)}


def freeze(things: list[Any]) -> Frozen:
    """The bytes of all arrays in things, and JSON that says where they lie in them and what surrounds them."""
    data = bytearray()

    def text(thing: Any) -> Any:
        if isinstance(thing, np.ndarray):
            start = len(data)
            data.extend(np.ascontiguousarray(thing).tobytes())
            return {"array": [start, thing.dtype.str, list(thing.shape)]}
        if type(thing).__name__ in KINDS:
            return {type(thing).__name__: [text(one) for one in thing]}
        if isinstance(thing, tuple):
            return {"tuple": [text(one) for one in thing]}
        if isinstance(thing, list):
            return [text(one) for one in thing]
        if isinstance(thing, dict):
            return {"dict": [[key, text(one)] for key, one in thing.items()]}
        if isinstance(thing, slice):
            return {"slice": [thing.start, thing.stop, thing.step]}
        if thing is ...:
            return {"...": []}
        return thing.item() if isinstance(thing, np.generic) else thing

    words = json.dumps([text(thing) for thing in things])
    return np.frombuffer(bytes(data), np.uint8), np.array(words)


def thaw(frozen: Frozen) -> list[Any]:
    """What was frozen."""
    data = frozen[0].tobytes()

    def thing(text: Any) -> Any:
        if isinstance(text, list):
            return [thing(one) for one in text]
        if not isinstance(text, dict):
            return text
        ((kind, parts),) = text.items()
        if kind == "array":
            start, dtype, shape = parts
            return np.frombuffer(data, dtype, prod(shape), start).reshape(shape).copy()
        if kind == "dict":
            return {key: thing(one) for key, one in parts}
        if kind == "slice":
            return slice(*parts)
        if kind == "...":
            return ...
        whole = tuple(thing(one) for one in parts)
        return KINDS[kind](*whole) if kind in KINDS else whole

    return [thing(text) for text in json.loads(str(frozen[1]))]
