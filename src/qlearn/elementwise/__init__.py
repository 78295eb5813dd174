"""Operators that compute, or only move, one element at a time (Chapters 4 and 5).

Sums and products, also with a number, concatenation, activations, shapes; and what the engine qnnpack does otherwise.
"""

from qlearn.elementwise.activations import (
    clamp,
    elu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    relu6,
    sigmoid,
    tanh,
)
from qlearn.elementwise.concatenate import cat
from qlearn.elementwise.functional import QFunctional
from qlearn.elementwise.prelu import prelu
from qlearn.elementwise.scalars import add_scalar, add_scalar_relu, mul_scalar, mul_scalar_relu, relu
from qlearn.elementwise.shapes import (
    channel_shuffle,
    chunk,
    contiguous,
    flatten,
    getitem,
    permute,
    reshape,
    split,
    squeeze,
    transpose,
    unsqueeze,
    view,
)
from qlearn.elementwise.sums_and_products import add, add_relu, mul, mul_relu

__all__ = [
    "QFunctional",
    "add",
    "add_relu",
    "add_scalar",
    "add_scalar_relu",
    "cat",
    "channel_shuffle",
    "chunk",
    "clamp",
    "contiguous",
    "elu",
    "flatten",
    "getitem",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "mul",
    "mul_relu",
    "mul_scalar",
    "mul_scalar_relu",
    "permute",
    "prelu",
    "relu",
    "relu6",
    "reshape",
    "sigmoid",
    "split",
    "squeeze",
    "tanh",
    "transpose",
    "unsqueeze",
    "view",
]
