"""Draw the cover and the favicon from the recorded sums: python tools/cover.py"""

import sys
from pathlib import Path

from qlearn import recordings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))

from page import BAND, COLORS, sums_on_paper, weave  # noqa: E402

PATCH = slice(80, 112)  # rows and columns of the favicon


def drawings() -> dict[str, str]:
    """Every file that this draws, by its name in book/assets."""
    recorded = recordings.load("elementwise")
    paper, theirs = sums_on_paper(recorded["avx2/presets"][0]), recorded["avx2/add/0/body"]
    higher, lower = theirs > paper, theirs < paper
    words = "Sums of two 8-bit codes in which the textbook formula and PyTorch differ, each a dot"
    colors = (COLORS["torch"], COLORS["ours"])
    return {
        "cover.svg": weave(higher[BAND], lower[BAND], words, *colors),
        "favicon.svg": weave(higher[PATCH, PATCH], lower[PATCH, PATCH], words, *colors),
    }


if __name__ == "__main__":
    for name, drawing in drawings().items():
        (ROOT / "book" / "assets" / name).write_text(drawing + "\n", encoding="utf-8")
