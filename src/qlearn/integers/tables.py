"""One code that becomes another: a table of 256, for the body and for the tail (Chapter 9, Integers only).

Activations, sums and products with a number, a part of cat, codes in another scale: whatever ``qlearn`` does to one
code at a time. The tables are what its function says to all 256 codes, on each path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.integers.certificate import Unproven
from qlearn.integers.forms import Ints
from qlearn.integers.pairs import check_dtype
from qlearn.machine.layout import dense_strides, laid_out
from qlearn.machine.machine import BODY, TAIL

__all__ = ["Lookup", "lookup"]

Function = Callable[[QTensor], QTensor]
Shape = tuple[int, ...]
SHAPES: dict[str, tuple[tuple[Shape, ...], tuple[Shape, ...]]] = {
    "contiguous": (((256,),), ((60,), (60,), (60,), (60,), (16,))),
    "channels_last": (((1, 16, 4, 4),), ((1, 7, 1, 37),)),
}
"""Tensors that hold all codes: whole blocks of 64, or eights of channels, for the body; less for the tail."""


@dataclass(frozen=True, eq=False)
class Lookup:
    """The integers of a function of one code (Chapter 9).

    Args:
        body, tail: the codes of all 256, from the least of the dtype on, int64.
        scale, zero_point, dtype: of the result.
        least: the code of the first entries: 0, or -128.
        function: of ``qlearn``.
        layout: in which it was asked.
    """

    body: Ints
    tail: Ints
    scale: float
    zero_point: int
    dtype: str
    least: int
    function: Function
    layout: str

    def codes(self, path: int, q: npt.ArrayLike) -> Ints:
        """Of codes of any shape, on BODY or TAIL."""
        return self.on(path)[np.asarray(q, np.int64) - self.least]

    def on(self, path: int) -> Ints:
        """The table of BODY or TAIL."""
        return self.body if path == BODY else self.tail

    def check(self, x: tuple[float, int], dtype: str) -> int:
        """Ask the function again, for x of this scale and zero point; how many codes it looked at.

        Raises:
            Unproven: a code differs.
        """
        again = lookup(self.function, *x, dtype=dtype, layout=self.layout)
        for path, name in ((BODY, "body"), (TAIL, "tail")):
            if (different := np.flatnonzero(self.on(path) != again.on(path))).size:
                q = int(different[0])
                raise Unproven(
                    f"code {q + self.least} gives {self.on(path)[q]} in the {name}, where float32 gives "
                    f"{again.on(path)[q]}"
                )
        return 512


def lookup(
    function: Function, scale: float, zero_point: int, *, dtype: str = "quint8", layout: str = "contiguous"
) -> Lookup:
    """The tables of a function that treats each code alone, such as lambda x: qlearn.hardswish(x, 0.1, 3) (Chapter 9).

    Args:
        function: of a per-tensor QTensor, gives one of its shape; on one machine.
        scale, zero_point: of what it gets.
        dtype: "quint8" or "qint8".
        layout: "contiguous", or "channels_last" for ``qlearn.cat`` along the channels, which goes by eights of them.

    Raises:
        NotImplementedError: another dtype.
        ValueError: another layout; what function raises.
    """
    check_dtype(dtype)
    if layout not in SHAPES:
        raise ValueError(f"layout must be one of {', '.join(SHAPES)}, got {layout!r}")
    tables, least = [], int(np.iinfo(DTYPES[dtype]).min)
    for shapes in SHAPES[layout]:
        table, start = np.zeros(256, np.int64), 0
        for shape in shapes:
            q = (np.arange(start, start + np.prod(shape)) % 256 + least).astype(DTYPES[dtype]).reshape(shape)
            strides = dense_strides(shape, channels_last=layout == "channels_last")
            y = function(QTensor(laid_out(q, strides), scale, zero_point, dtype))
            table[q.astype(np.int64) - least] = y.int_repr()
            start += q.size
        tables.append(table)
    body, tail = tables
    return Lookup(body, tail, y.q_scale(), y.q_zero_point(), y.dtype, least, function, layout)
