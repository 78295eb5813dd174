"""What each chapter's first cell sets up: quiet torch, figures in the page's colours, numbers for the prose."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from IPython.display import HTML, display
from myst_nb import glue as _glue

# Told once, in the first chapter: PyTorch is going to remove its quantized tensors.
warnings.filterwarnings("ignore", message=".*quantized tensor.*deprecated")

# The colours' names and values of assets/book.css (light); a page in the dark puts its own values in their place.
COLORS = {
    "ink": "#22252b",
    "soft": "#646a75",
    "rule": "#ddd8cc",
    "paper": "#faf8f3",
    "ours": "#0b62a8",
    "torch": "#c2410c",
    "wrong": "#b01e6b",
    "tie": "#946800",
    "clamped": "#8b8f98",
    "wash": "#e3edf6",
}

matplotlib.rcParams.update(
    {
        "figure.figsize": (7.4, 3.2),
        "figure.constrained_layout.use": True,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["Source Sans 3", "DejaVu Sans"],
        "font.size": 11,
        "text.color": COLORS["ink"],
        "axes.edgecolor": COLORS["soft"],
        "axes.labelcolor": COLORS["soft"],
        "axes.titlecolor": COLORS["ink"],
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(color=[COLORS[name] for name in ("ours", "torch", "tie", "wrong", "clamped")]),
        "axes.unicode_minus": True,
        "xtick.color": COLORS["soft"],
        "ytick.color": COLORS["soft"],
        "grid.color": COLORS["rule"],
        "legend.frameon": False,
        "lines.linewidth": 1.8,
    }
)
warnings.filterwarnings("ignore", message="findfont")


def show(figure: plt.Figure, description: str) -> None:
    """Put a figure into the page as inline SVG, its text and colours the page's own, with words for those who see none."""
    text = io.StringIO()
    matplotlib.rcParams["svg.hashsalt"] = description  # the same ids at each run, other ids for each figure
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    drawing = text.getvalue()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.DOTALL)
    for name, color in COLORS.items():
        drawing = re.sub(rf"{color}\b", f"var(--ql-{name}, {color})", drawing, flags=re.IGNORECASE)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    display(HTML(f'<div class="ql-figure">{drawing}</div>'))


def glue(**values: Any) -> None:
    """Name numbers for the prose: ``{glue:text}`name``` puts one into a sentence."""
    for name, value in values.items():
        _glue(name, value, display=False)
