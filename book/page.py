"""What each chapter's first cell sets up: quiet torch, figures in the page's colours, numbers for the prose."""

from __future__ import annotations

import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import yaml
from IPython.display import HTML, Javascript, display
from myst_nb import glue as _glue

from qlearn import Machine
from qlearn.machine import _cpu

if not _cpu.is_x86():
    print("This computer is no x86-64: where a cell asks PyTorch, it shows other numbers or an error. The built page")
    print("shows what was recorded on x86-64; Binder runs on one.")

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
        "axes.prop_cycle": matplotlib.cycler(
            color=[COLORS[name] for name in ("ours", "torch", "tie", "wrong", "clamped")]
        ),
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
    """Put a figure into the page as inline SVG, in its font and colors, with words for those who cannot see it."""
    text = io.StringIO()
    matplotlib.rcParams["svg.hashsalt"] = description  # the same ids at each run, other ids for each figure
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    drawing = text.getvalue()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.DOTALL)
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)  # its "*" would style the whole page
    for name, color in COLORS.items():
        drawing = re.sub(rf"{color}\b", f"var(--ql-{name}, {color})", drawing, flags=re.IGNORECASE)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{label}" stroke-linejoin="round" ', 1)
    display(HTML(f'<div class="ql-figure">{drawing}</div>'))


# In a built page the book's tools put a glued number into its sentence. A notebook shows the bare role there: text that
# ends in "{glue:text}" and the name as code. This puts the number in its place, whenever that text appears.
IN_NOTEBOOK = """(values) => {
  const glued = (window.glued ??= {});
  Object.assign(glued, values);
  const place = () => document.querySelectorAll(".jp-RenderedMarkdown code").forEach((code) => {
    const before = code.previousSibling;
    if (!before?.textContent.endsWith("{glue:text}") || !(code.textContent in glued)) return;
    before.textContent = before.textContent.slice(0, -"{glue:text}".length);
    code.replaceWith(glued[code.textContent]);
  });
  window.placeGlued?.disconnect();
  window.placeGlued = new MutationObserver(place);
  window.placeGlued.observe(document.body, { childList: true, subtree: true });
  place();
}"""


def glue(**values: Any) -> None:
    """Name numbers for the prose, where ``{glue:text}`name``` puts them; for cells that the page leaves out."""
    for name, value in values.items():
        _glue(name, value, display=False)
    display(Javascript(f"({IN_NOTEBOOK})({json.dumps({name: str(value) for name, value in values.items()})})"))


def predict(right: int, others: dict[str, int], because: str = "") -> None:
    """A box below a question: which integer? It says right, or which arithmetic gives the reader's number.

    Args:
        right: the right integer, in most questions PyTorch's.
        others: the integers of other arithmetics by their names, each such that "is what <name> gives" is a sentence.
        because: a sentence or two in HTML that the answer ends with.
    """
    named: dict[int, list[str]] = {}
    for name, integer in others.items():
        named.setdefault(int(integer), []).append(name)
    alike = named.pop(int(right), [])
    told = [because] if because else []
    if alike:
        told.append(f"It is what {' or '.join(alike)} gives, too.")
    lines = [f'<p><data class="right" value="{right}">{right}</data>. {" ".join(told)}</p>'.replace(" </p>", "</p>")]
    lines += [
        f'<p><data value="{integer}">{integer}</data> is what {" or ".join(names)} gives.</p>'
        for integer, names in named.items()
    ]
    keys = "text" if min(right, *named, 0) < 0 else "numeric"  # a telephone's numeric keys have no minus
    display(
        HTML(
            f'<div class="ql-predict"><form hidden><label>Your integer <input name="integer" inputmode="{keys}" '
            'autocomplete="off" size="7"></label> <button>Check</button> <output aria-live="polite"></output></form>'
            f'<details class="ql-fold"><summary>Show the answer</summary>{"".join(lines)}</details></div>'
        )
    )


def running(engine: str) -> Machine | None:
    """What the running PyTorch uses with an engine, which is set; None where some of its kernels are not known."""
    import torch

    torch.backends.quantized.engine = engine
    with warnings.catch_warnings(action="error"):
        try:
            return Machine.from_torch()
        except UserWarning:
            return None


BAND = slice(72, 168)
"""The rows of the weave, the first codes, that the cover and the first page show."""
MIDDLE = slice(64, 192)
"""The columns that the first page shows."""


def dots(cells: np.ndarray) -> str:
    """The SVG path of a dot in each True cell of a picture (rows, columns)."""
    path, x, y = [], 0, 0
    for row, column in np.argwhere(cells):
        path.append(f"m{column - x} {row - y}h0")
        x, y = column, row
    return "".join(path)


def weave(higher: np.ndarray, lower: np.ndarray, description: str, higher_color: str, lower_color: str) -> str:
    """A picture of two kinds of cells, each a dot of its color, as a standalone SVG of the cells' own size."""
    height, width = higher.shape
    paths = "".join(
        f'<path d="{dots(cells)}" stroke="{color}"/>' for cells, color in ((higher, higher_color), (lower, lower_color))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {width + 1} {height + 1}" role="img" '
        f'aria-label="{description}" fill="none" stroke-width="0.9" stroke-linecap="round">{paths}</svg>'
    )


def show_weave(ours: np.ndarray, theirs: np.ndarray, description: str) -> None:
    """Where two tables of integers differ: orange where PyTorch's is the higher one, blue where ours is."""
    colors = (f"var(--ql-{name}, {COLORS[name]})" for name in ("torch", "ours"))
    display(HTML(f'<div class="ql-figure ql-weave">{weave(theirs > ours, theirs < ours, description, *colors)}</div>'))


def show_until_alive(drawing: str, words: str) -> None:
    """A still picture in the place of the widget after it: until that lives, and with the words where nothing will."""
    picture, told = f"<div><div>{drawing}</div></div>", f"<div><noscript>{words}</noscript></div>"
    display(HTML(f'<div class="ql-stand-in">{picture}{told}</div>'))


def sums_on_paper(preset: Any) -> np.ndarray:
    """All 65,536 sums of two uint8 codes, [q1, q2], as textbooks write them, in float64 (Chapter 4, eq-add-v).

    ``preset`` is (scale, zero point) of both inputs and of the sum.
    """
    (s1, z1), (s2, z2), (s, z) = preset
    q1, q2 = np.arange(256)[:, None], np.arange(256)
    return np.clip(np.rint((s1 * (q1 - z1) + s2 * (q2 - z2)) / s) + z, 0, 255).astype(int)


def citation() -> dict[str, Any]:
    """How the book is cited, by CITATION.cff."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8"))
    return found


def bibtex(about: dict[str, Any]) -> str:
    """The same as an entry for BibTeX."""
    title, subtitle = about["title"].split(": ")
    authors = " and ".join(f"{{{author['name']}}}" for author in about["authors"])
    year, month, _ = about["date-released"].split("-")
    return (
        f"@software{{qlearn{year},\n  title = {{{{{title}}}:\n    {subtitle}}},\n  author = {{{authors}}},\n"
        f"  version = {{{about['version']}}},\n  year = {{{year}}},\n  month = {{{int(month)}}},\n"
        f"  url = {{{about['repository-code']}}}\n}}"
    )
