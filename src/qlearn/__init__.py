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
from qlearn.conv import conv1d, conv1d_relu, conv2d, conv2d_add, conv2d_add_relu, conv2d_relu, conv3d, conv3d_relu
from qlearn.elementwise import add, add_relu, mul, mul_relu
from qlearn.functional import QFunctional
from qlearn.interpolate import interpolate
from qlearn.linear import linear, linear_relu
from qlearn.machine import Machine
from qlearn.mean import mean
from qlearn.network import Network
from qlearn.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool1d, max_pool2d
from qlearn.prelu import prelu
from qlearn.scalars import add_scalar, add_scalar_relu, mul_scalar, mul_scalar_relu, relu
from qlearn.shapes import (
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

__all__ = [
    "Machine",
    "Network",
    "QFunctional",
    "QTensor",
    "adaptive_avg_pool2d",
    "add",
    "add_relu",
    "add_scalar",
    "add_scalar_relu",
    "avg_pool2d",
    "cat",
    "channel_shuffle",
    "chunk",
    "clamp",
    "contiguous",
    "conv1d",
    "conv1d_relu",
    "conv2d",
    "conv2d_add",
    "conv2d_add_relu",
    "conv2d_relu",
    "conv3d",
    "conv3d_relu",
    "elu",
    "flatten",
    "from_torch",
    "getitem",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "interpolate",
    "leaky_relu",
    "linear",
    "linear_relu",
    "max_pool1d",
    "max_pool2d",
    "mean",
    "mul",
    "mul_relu",
    "mul_scalar",
    "mul_scalar_relu",
    "observers",
    "permute",
    "prelu",
    "quantize_per_channel",
    "quantize_per_tensor",
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
