"""Real numbers and their integer codes (Chapters 1 to 3).

``affine`` has the quantized tensor and its conversions, ``rounding`` each float32 step that they are made of, under the
name of its instruction or function, and ``observers`` choose a scale and zero point for data.
"""

from qlearn.codes import observers
from qlearn.codes.affine import QTensor, from_torch, quantize_per_channel, quantize_per_tensor

__all__ = ["QTensor", "from_torch", "observers", "quantize_per_channel", "quantize_per_tensor"]
