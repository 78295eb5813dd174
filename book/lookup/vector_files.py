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


class Table(SphinxDirective):
    """A row for each set: who gave it, how many rows and ties, its files and their checksums."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(vectors.__file__)
        for path in (Path(vectors.recordings.__file__).parent).glob("*.*"):
            self.env.note_dependency(str(path))
        found = vectors.files()
        heads = ("operator, and where", "rows", "all", "ties only")
        head = "".join(f'<th scope="col">{name}</th>' for name in heads)
        rows = "".join(row(v, found) for v in vectors.sets())
        html = f'<table class="table ql-vectors"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        return [nodes.raw("", html, format="html")]


def row(v: vectors.Vectors, found: dict[str, bytes]) -> str:
    """One set."""
    counts = [found[name].count(b"\n") - 1 if (name := f"{v.name}{of}.csv") in found else 0 for of in ("", "_ties")]
    ties = f"{counts[1]} ties" if counts[1] else "no ties"
    return (
        f'<tr><th scope="row">{escape(v.operator)}, {escape(v.path)}<small>{escape(v.about())}</small></th>'
        f"<td>{counts[0]}<small>{ties}</small></td>"
        + "".join(f"<td>{links(f'{v.name}{of}', found)}</td>" for of in ("", "_ties"))
        + "</tr>"
    )


def links(name: str, found: dict[str, bytes]) -> str:
    """The files of some rows, each with the beginning of its checksum."""
    files = [f"{name}.{kind}" for kind in KINDS if f"{name}.{kind}" in found]
    return "".join(
        f'<a href="../{FOLDER}/{file}" download title="{file}, SHA-256 {vectors.digest(found[file])}">'
        f"{file.rpartition('.')[2]}</a> <code>{vectors.digest(found[file])[:8]}</code>"
        for file in files
    )


def write(app: Sphinx, error: Exception | None) -> None:
    """Put the files where the page's links lead; those that are there as they should be stay."""
    if error or app.builder.format != "html":
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(exist_ok=True)
    files = vectors.files() | {path.name: path.read_bytes() for path in READERS.iterdir() if path.is_file()}
    for name, data in files.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("vectors", Table)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
