"""PyTorch's quantized integers, every last bit, in NumPy."""

from qlearn import observers
from qlearn.activations import (
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
from qlearn.affine import QTensor, from_torch, quantize_per_channel, quantize_per_tensor
from qlearn.concatenate import cat
from qlearn.conv import conv1d, conv1d_relu, conv2d, conv2d_relu, conv3d, conv3d_relu
from qlearn.elementwise import add, add_relu, mul, mul_relu
from qlearn.functional import QFunctional
from qlearn.linear import linear, linear_relu
from qlearn.machine import Machine
from qlearn.scalars import add_scalar, add_scalar_relu, mul_scalar, mul_scalar_relu, relu

__all__ = [
    "Machine",
    "QFunctional",
    "QTensor",
    "add",
    "add_relu",
    "add_scalar",
    "add_scalar_relu",
    "cat",
    "clamp",
    "conv1d",
    "conv1d_relu",
    "conv2d",
    "conv2d_relu",
    "conv3d",
    "conv3d_relu",
    "elu",
    "from_torch",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "linear",
    "linear_relu",
    "mul",
    "mul_relu",
    "mul_scalar",
    "mul_scalar_relu",
    "observers",
    "quantize_per_channel",
    "quantize_per_tensor",
    "relu",
    "relu6",
    "sigmoid",
    "tanh",
]
