"""Keep what the built pages say, for computers that are no x86-64: python tools/pages.py, after the book was built.

Writes book/recorded.zip from the execution cache of the build (``book/extensions/recorded_pages.py`` reads it).
"""

import json
import sys
from importlib.metadata import version
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from record import ROOT, cpu_flags

sys.path.insert(0, str(ROOT / "book" / "extensions"))
ARCHIVE = ROOT / "book" / "recorded.zip"


def chapters() -> dict[str, Any]:
    """The pages that hold code, as notebooks without outputs."""
    from myst_nb.core.read import read_myst_markdown_notebook

    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "book").glob("*.md"))}
    return {name: read_myst_markdown_notebook(text) for name, text in texts.items() if "{code-cell}" in text}


def main() -> None:
    """Write each chapter's executed cells."""
    import nbformat
    from execution_key import execution_key
    from jupyter_cache import get_cache

    if not {"avx512f", "avx512_vnni"} <= cpu_flags():
        raise SystemExit("The pages are recorded on a CPU with AVX-512 and VNNI, as Machine.default() has.")
    cache = get_cache(str(ROOT / "_build" / ".jupyter_cache" / execution_key(ROOT)))
    about = {"torch": version("torch").partition("+")[0], "cpu": "an x86-64 CPU with AVX-512 and VNNI"}
    files = {"about.json": json.dumps(about)}
    for name, chapter in chapters().items():
        try:
            built = cache.match_cache_notebook(chapter)
        except KeyError:
            raise SystemExit(f"The chapter {name} was not built as it is: make book comes first.") from None
        files[f"{name}.ipynb"] = nbformat.writes(cache.get_cache_bundle(built.pk).nb)
    written = BytesIO()
    with ZipFile(written, "w", ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(ZipInfo(name), text, ZIP_DEFLATED, 9)
    ARCHIVE.write_bytes(written.getvalue())
    print(f"{len(files) - 1} pages, {ARCHIVE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
