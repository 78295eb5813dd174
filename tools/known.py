"""Differences that have a name: where qlearn is known not to be PyTorch's equal, and why. They are counted apart."""

from typing import Any, NamedTuple

from qlearn import Machine
from qlearn.machine import CAPABILITIES, ENGINES
from qlearn.releases import RELEASES

__all__ = ["KNOWN", "Known", "known"]


class Known(NamedTuple):
    """A reason, and where it holds: from one release to another, for some operators or networks, engines, dtypes."""

    reason: str
    first: str
    last: str
    operators: tuple[str, ...]
    engines: tuple[str, ...] = ENGINES
    capabilities: tuple[str, ...] = CAPABILITIES
    dtypes: tuple[str, ...] = ()  # of the first operand, as NumPy calls its codes; none stands for any

    def holds(self, machine: Machine, operator: str, case: Any) -> bool:
        """Whether a difference there is this one."""
        inside = RELEASES.index(self.first) <= RELEASES.index(machine.release) <= RELEASES.index(self.last)
        there = machine.engine in self.engines and machine.capability in self.capabilities
        return inside and there and operator in self.operators and (not self.dtypes or dtype_of(case) in self.dtypes)


PAIRS = ("add", "add_relu", "mul", "mul_relu")
LINEAR = ("linear", "linear_relu")
CONV = ("conv1d", "conv1d_relu", "conv2d", "conv2d_relu", "conv2d_add", "conv2d_add_relu", "conv3d", "conv3d_relu")
POOLS = ("avg_pool2d", "interpolate", "leaky_relu", "mean", "tanh")

KNOWN: tuple[Known, ...] = (
    Known("qint8 is added and multiplied by XNNPACK", "1.13", "2.12", PAIRS, dtypes=("int8",)),
    Known(
        "element-wise kernels and pools compiled for AVX-512", "1.13", "2.1", PAIRS + POOLS, capabilities=("AVX512",)
    ),
    Known("qint32 is multiplied in other steps", "1.13", "2.4", ("mul", "mul_relu", "prelu"), dtypes=("int32",)),
    Known("add_scalar of qint32 finds other parameters", "1.13", "2.4", ("add_scalar",), dtypes=("int32",)),
    Known("HistogramObserver as it was up to 2.4", "1.13", "2.4", ("observers",)),
    Known("images of no pixels are interpolated, not refused", "1.13", "2.12", ("interpolate",)),
    Known("qnnpack refuses some windows of max_pool2d", "1.13", "2.1", ("max_pool2d",), ("qnnpack",)),
    Known("oneDNN 2: other last steps", "1.13", "2.1", LINEAR + CONV, ("onednn", "x86")),
    Known("oneDNN's linear_relu: single integers", "2.2", "2.15", ("linear_relu",), ("onednn",)),
)
"""Every difference that is known. An empty table is the aim."""


def known(machine: Machine, operator: str, case: Any = None) -> str:
    """The reason why an operator, or a network, may differ on a machine, or nothing."""
    return next((one.reason for one in KNOWN if one.holds(machine, operator, case)), "")


def dtype_of(case: Any) -> str:
    """Of the codes of the first operand, "" where there is none."""
    operands = getattr(case, "operands", ())
    return str(operands[0].flat.dtype.name) if operands else ""
