"""Where the built book is, and which pages it has."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"


def pages() -> list[Path]:
    """Every page that was built."""
    return sorted(path for path in HTML.rglob("*.html") if "_static" not in path.parts)


def chapters() -> list[str]:
    """The names of the chapters that hold code, from their sources."""
    sources = sorted((ROOT / "book").glob("*.md"))
    return [path.stem for path in sources if "{code-cell}" in path.read_text(encoding="utf-8")]
