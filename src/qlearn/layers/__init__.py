"""Operators that sum over many elements (Chapters 6 and 7).

A linear layer and a convolution accumulate integers exactly, then requantize; which kernel does it, and what it
saturates, is ``kernels``. Pools, means and interpolation sum and divide.
"""

from qlearn.layers.conv import (
    conv1d,
    conv1d_relu,
    conv2d,
    conv2d_add,
    conv2d_add_relu,
    conv2d_relu,
    conv3d,
    conv3d_relu,
)
from qlearn.layers.interpolate import interpolate
from qlearn.layers.linear import linear, linear_relu
from qlearn.layers.mean import mean
from qlearn.layers.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool1d, max_pool2d

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "conv1d",
    "conv1d_relu",
    "conv2d",
    "conv2d_add",
    "conv2d_add_relu",
    "conv2d_relu",
    "conv3d",
    "conv3d_relu",
    "interpolate",
    "linear",
    "linear_relu",
    "max_pool1d",
    "max_pool2d",
    "mean",
]
