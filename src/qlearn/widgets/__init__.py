"""Interactive figures, one a chapter: alive in a static page, beside the real PyTorch where there is a kernel."""

try:
    import anywidget  # noqa: F401
except ImportError:
    raise ImportError("qlearn.widgets needs anywidget: pip install 'qlearn[widgets]'") from None

from qlearn.widgets.affine import Grid
from qlearn.widgets.conv import SlidingWindow
from qlearn.widgets.elementwise import AdditionTable
from qlearn.widgets.finder import Finder
from qlearn.widgets.integers import PixelLine
from qlearn.widgets.linear import Staircase
from qlearn.widgets.machine import TwoPaths
from qlearn.widgets.network import Domino
from qlearn.widgets.observers import Range
from qlearn.widgets.product import Product
from qlearn.widgets.rounding import Tie
from qlearn.widgets.weave import Weave

__all__ = [
    "AdditionTable",
    "Domino",
    "Finder",
    "Grid",
    "PixelLine",
    "Product",
    "Range",
    "SlidingWindow",
    "Staircase",
    "Tie",
    "TwoPaths",
    "Weave",
]
