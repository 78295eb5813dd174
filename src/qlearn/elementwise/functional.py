"""QFunctional, the object that a quantized PyTorch model calls instead of + and * (Chapters 4 and 5)."""

from collections.abc import Sequence
from typing import Any, NoReturn

from qlearn.codes.affine import QTensor, check_scale
from qlearn.elementwise import concatenate, scalars, sums_and_products
from qlearn.machine.machine import Machine

__all__ = ["QFunctional"]


class QFunctional:
    """torch.ao.nn.quantized.QFunctional: an operator's output scale and zero point, kept with the operator.

    Methods are named as PyTorch's. Each gives the integers of the function of the same name in ``qlearn``.

    Args:
        scale: of the results of add, add_relu, mul and cat; positive and finite, as float32 too.
        zero_point: of the same; an integer within the inputs' dtype.
        machine: whose arithmetic; None is ``Machine.default()``.

    Raises:
        TypeError, ValueError: scale is not such a number, machine is not a Machine.
    """

    def __init__(self, scale: float = 1.0, zero_point: int = 0, machine: Machine | None = None) -> None:
        self.scale, self.zero_point, self.machine = check_scale(scale), zero_point, Machine.of(machine)

    def add(self, x: QTensor, y: QTensor) -> QTensor:
        """``qlearn.add`` with this scale and zero point (Chapter 4)."""
        return sums_and_products.add(x, y, self.scale, self.zero_point, machine=self.machine)

    def add_relu(self, x: QTensor, y: QTensor) -> QTensor:
        """``qlearn.add_relu`` with this scale and zero point (Chapter 4)."""
        return sums_and_products.add_relu(x, y, self.scale, self.zero_point, machine=self.machine)

    def mul(self, x: QTensor, y: QTensor) -> QTensor:
        """``qlearn.mul`` with this scale and zero point (Chapter 5)."""
        return sums_and_products.mul(x, y, self.scale, self.zero_point, machine=self.machine)

    def cat(self, x: Sequence[QTensor], dim: int = 0) -> QTensor:
        """``qlearn.cat`` with this scale and zero point (Chapter 5)."""
        return concatenate.cat(x, self.scale, self.zero_point, dim, machine=self.machine)

    def add_scalar(self, x: QTensor, y: float) -> QTensor:
        """``qlearn.add_scalar``, which finds a scale and zero point of its own (Chapter 5)."""
        return scalars.add_scalar(x, y, machine=self.machine)

    def mul_scalar(self, x: QTensor, y: float) -> QTensor:
        """``qlearn.mul_scalar``, which finds a scale and zero point of its own (Chapter 5)."""
        return scalars.mul_scalar(x, y, machine=self.machine)

    def matmul(self, x: Any, y: Any) -> NoReturn:
        """Not there yet: NotImplementedError."""
        raise NotImplementedError("QFunctional.matmul is not there yet")

    def __repr__(self) -> str:
        return f"QFunctional(scale={self.scale}, zero_point={self.zero_point}, machine={self.machine})"
