"""PyTorch's quantized integers, every last bit, in NumPy."""

from qlearn.affine import QTensor, from_torch, quantize_per_channel, quantize_per_tensor

__all__ = ["QTensor", "from_torch", "quantize_per_channel", "quantize_per_tensor"]
