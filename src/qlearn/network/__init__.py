"""Whole networks as lists of steps, and what is wrong with somebody else's (Chapters 10 and 11).

A ``Step`` calls one operator; ``trace`` reads the steps from a PyTorch model; a ``Comparison`` finds the first layer
whose integers differ, and ``mistakes`` names the arithmetic that gives them.
"""

from qlearn.network.comparison import Comparison
from qlearn.network.network import Network, Progress
from qlearn.network.step import Ref, Step

__all__ = ["Comparison", "Network", "Progress", "Ref", "Step"]
