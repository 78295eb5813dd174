"""Interactive figures, one a chapter: alive in a static page, beside the real PyTorch where there is a kernel."""

from .affine import Grid
from .calculator import Calculator
from .elementwise import AdditionTable
from .machine import TwoPaths
from .observers import Range
from .rounding import Tie

__all__ = ["AdditionTable", "Calculator", "Grid", "Range", "Tie", "TwoPaths"]
