"""Checking an exercise: are these the right numbers, and if not, where is the first that is wrong?"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check"]


def check(yours: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    """Print whether all numbers are equal; if not, how many differ and the first of them.

    Args:
        yours: what the exercise asked for: an array, a list, or a number.
        expected: the right numbers, of the same shape. A quantized tensor's codes are its ``int_repr()``.

    Raises:
        TypeError: yours is None, as from a function that does not return.
    """
    if yours is None:
        raise TypeError("yours must be numbers to compare, got None; does your function return its result?")
    mine, right = np.asarray(yours), np.asarray(expected)
    if mine.shape != right.shape:
        print(f"Not yet: the shape is {mine.shape}, expected {right.shape}.")
        return
    wrong = ~((mine == right) | (_is_nan(mine) & _is_nan(right)))
    if not wrong.any():
        print(f"Yes: {right.size:,} of {right.size:,} equal.")
        return
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f" at {first if len(first) > 1 else first[0]}" if first else ""
    count = f"{wrong.sum():,} of {right.size:,} differ"
    print(f"Not yet: {count}; the first{where} is {mine[first]}, expected {right[first]}.")


def _is_nan(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    is_nan: npt.NDArray[np.bool_] = values != values
    return is_nan
