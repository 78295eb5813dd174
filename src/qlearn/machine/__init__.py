"""Whose arithmetic: an engine, a CPU capability, threads and a release of PyTorch (Chapter 8, The last bit).

The ground floor. Which path of a kernel computes an element follows from where it lies in memory (``layout``) and from
the order in which elements are visited (``iteration``); what PyTorch changed from release to release is ``releases``.
"""

from qlearn.machine.machine import BODY, CAPABILITIES, ENGINES, TAIL, Machine

__all__ = ["BODY", "CAPABILITIES", "ENGINES", "TAIL", "Machine"]
