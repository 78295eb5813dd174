"""The directive ``vectors``: the table of test vectors; their files are put beside the pages, in ``vectors/``."""

from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import vectors

READERS = Path(__file__).with_name("readers")
FOLDER = "vectors"
KINDS = ("csv", "hex", "npz")
HEADS = ("operator, path, and who gave the integers", "all", "ties only")


class Table(SphinxDirective):
    """A row for each set: who gave it, how many rows and ties, its files and their checksums."""

    def run(self) -> list[nodes.Node]:
        recordings = Path(vectors.recordings.__file__).parent
        for path in (Path(vectors.__file__), Path(__file__), *recordings.glob("*.*")):
            self.env.note_dependency(str(path))
        found = vectors.files()
        heads = "".join(f'<th scope="col" role="columnheader">{head}</th>' for head in HEADS)
        rows = "".join(row(v, found) for v in vectors.sets())
        html = (
            '<table class="ql-vectors" role="table"><thead role="rowgroup">'
            f'<tr role="row">{heads}</tr></thead><tbody role="rowgroup">{rows}</tbody></table>'
        )
        return [nodes.raw("", html, format="html")]


def row(v: vectors.Vectors, found: dict[str, bytes]) -> str:
    """One set."""
    cells = "".join(f'<td role="cell">{files(f"{v.name}{of}", found)}</td>' for of in ("", "_ties"))
    what = f"{escape(v.operator)} <span>{escape(v.path)}</span><small>{escape(v.about())}</small>"
    return f'<tr role="row"><th scope="row" role="rowheader">{what}</th>{cells}</tr>'


def files(name: str, found: dict[str, bytes]) -> str:
    """How many rows, and the files of them, each with the beginning of its checksum."""
    if f"{name}.csv" not in found:
        return "none"
    count = found[f"{name}.csv"].count(b"\n") - 1
    return f"{count} rows" + "".join(link(f"{name}.{kind}", kind, found) for kind in KINDS)


def link(file: str, kind: str, found: dict[str, bytes]) -> str:
    """One file."""
    digest = vectors.digest(found[file])
    return (
        f'<div><a href="../{FOLDER}/{file}" download title="{file}, SHA-256 {digest}" aria-label="{file}">{kind}</a> '
        f"<code>{digest[:8]}</code></div>"
    )


def write(app: Sphinx, error: Exception | None) -> None:
    """Put the files where the page's links lead; those that are there as they should be stay."""
    if error or app.builder.format != "html":
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(exist_ok=True)
    wanted = vectors.files() | {path.name: path.read_bytes() for path in READERS.iterdir() if path.is_file()}
    for name, data in wanted.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("vectors", Table)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
