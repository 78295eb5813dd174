"""Differences that have a name: where qlearn is known not to be PyTorch's equal, and why. They are counted apart."""

from typing import Any, NamedTuple

from qlearn import Machine
from qlearn.machine.machine import CAPABILITIES, ENGINES
from qlearn.machine.releases import RELEASES

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


ADDED = ("conv2d_add", "conv2d_add_relu")
CONV3D = ("conv3d", "conv3d_relu")

KNOWN: tuple[Known, ...] = (
    Known("qnnpack's tanh of quint8: one code of 256 at a few scales", "1.13", "1.13", ("tanh",), ("qnnpack",)),
    Known("oneDNN 2's sum with another tensor: single integers", "2.0", "2.0", ADDED, ("onednn",)),
    Known("oneDNN 2's convolution in three dimensions: a few shapes", "1.13", "2.0", CONV3D, ("onednn", "x86")),
)
"""Every difference that is known. An empty table is the aim."""


def known(machine: Machine, operator: str, case: Any = None) -> str:
    """The reason why an operator, or a network, may differ on a machine, or nothing."""
    return next((one.reason for one in KNOWN if one.holds(machine, operator, case)), "")


def dtype_of(case: Any) -> str:
    """Of the codes of the first operand, "" where there is none."""
    operands = getattr(case, "operands", ())
    return str(operands[0].flat.dtype.name) if operands else ""
