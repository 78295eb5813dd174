"""What a known arithmetic is: a name, in words, and the codes that it gives (Find my wrong integer)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor

__all__ = ["Arrange", "Array", "Kind", "Known", "Parameters", "code_range", "in_bodies", "in_tails", "slug"]

Array = npt.NDArray[Any]
Parameters = Mapping[str, Any]
Kind = Literal["pytorch", "mistake", "runtime"]


@dataclass(frozen=True)
class Known:
    """One arithmetic of an operator, with its parameters."""

    name: str
    words: str
    kind: Kind
    """"pytorch": PyTorch's own; "mistake": what people write; "runtime": another runtime's."""
    codes: Callable[..., Array]
    """The operator's inputs, arrays of one length -> int64 codes of that length; float32 numbers of ``dequantize``."""
    key: str = ""
    """The name as it stands in a URL."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", quiet(self.codes))
        if not self.key:
            object.__setattr__(self, "key", slug(self.name))


def quiet(codes: Callable[..., Array]) -> Callable[..., Array]:
    """Infinities and NaN arise where the arithmetic's own do."""

    def quietly(*inputs: npt.ArrayLike) -> Array:
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            return codes(*map(np.asarray, inputs))

    return quietly


ASCII = {"₁": "1", "₂": "2", "·": "times", "+": "plus", "−": "minus", "×": "times"}


def slug(name: str) -> str:
    """A name as a part of a URL."""
    plain = re.sub("[₁₂·+−′×’]", lambda sign: ASCII.get(sign[0], ""), name.lower())
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")


def code_range(p: Parameters) -> tuple[int, int]:
    """The lowest and the highest code of the dtype."""
    info = np.iinfo(DTYPES[p["dtype"]])
    return int(info.min), int(info.max)


Arrange = Callable[[Array, float, int, str], QTensor]


def in_bodies(codes: Array, scale: float, zero_point: int, dtype: str) -> QTensor:
    """Codes (n,) and as many more as fill the last block of 64: vector bodies compute them all."""
    q = np.asarray(codes).astype(DTYPES[dtype])
    return QTensor(np.concatenate([q, np.zeros(-len(q) % 64, q.dtype)]), scale, zero_point, dtype)


def in_tails(codes: Array, scale: float, zero_point: int, dtype: str) -> QTensor:
    """Codes (n,) with a gap after each: no two are neighbors in memory, so that scalar tails compute them all."""
    return QTensor(np.repeat(np.asarray(codes).astype(DTYPES[dtype]), 2)[::2], scale, zero_point, dtype)
