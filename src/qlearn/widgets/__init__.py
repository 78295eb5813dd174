"""Interactive figures, one a chapter: alive in a static page, beside the real PyTorch where there is a kernel."""

try:
    import anywidget  # noqa: F401
except ImportError:
    raise ImportError("qlearn.widgets needs anywidget: pip install 'qlearn[widgets]'") from None

from .affine import Grid
from .calculator import Calculator
from .conv import SlidingWindow
from .elementwise import AdditionTable
from .linear import Staircase
from .machine import TwoPaths
from .network import Domino
from .observers import Range
from .rounding import Tie

__all__ = ["AdditionTable", "Calculator", "Domino", "Grid", "Range", "SlidingWindow", "Staircase", "Tie", "TwoPaths"]
