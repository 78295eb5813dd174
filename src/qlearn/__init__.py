"""PyTorch's quantized integers, every last bit, in NumPy."""

from qlearn import observers
from qlearn.affine import QTensor, from_torch, quantize_per_channel, quantize_per_tensor
from qlearn.elementwise import add
from qlearn.machine import Machine

__all__ = ["Machine", "QTensor", "add", "from_torch", "observers", "quantize_per_channel", "quantize_per_tensor"]
