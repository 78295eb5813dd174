"""The directive ``sheet``: one section of the cheat sheet, as a table, from the lines in ``sheet.py``."""

from html import escape
from typing import Any

from build_time_math import mathml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import sheet

STEPS = "steps"
HEADS = ("what, and where", "formula", "NumPy and C99")


class Sheet(SphinxDirective):
    """``{sheet} <section>``; ``{sheet} steps`` is what the lines are written in."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        for path in (sheet.__file__, __file__):
            self.env.note_dependency(path)
        name = self.arguments[0]
        if name == STEPS:
            html = table(name, [row(s.name, s.what, s.tex, *others(s)) for s in sheet.STEPS], *sheet.INCLUDES)
        else:
            section = next(section for section in sheet.SECTIONS if section.key == name)
            html = table(name, [row(line.title, line.who, line.tex, line.numpy, line.c) for line in section.lines])
        return [nodes.raw("", html, format="html")]


def others(step: sheet.Step) -> tuple[str, str]:
    """A step in both languages, and what it is in 2.13."""
    if step.first is None:
        return step.numpy, step.c
    return f"{step.numpy}  # 2.13:\n{step.first[0]}", f"{step.c}  /* 2.13: */\n{step.first[1]}"


def table(name: str, rows: list[str], *above: str) -> str:
    """A section, under its column heads. The roles say what it is where it is drawn as no table."""
    heads = "".join(f'<th scope="col" role="columnheader">{head}</th>' for head in HEADS)
    first = row("above all", "", "", *above) if above else ""
    return (
        f'<table class="ql-sheet" role="table" id="sheet-{name}">'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{first}{"".join(rows)}</tbody></table>'
    )


def row(title: str, who: str, tex: str, numpy: str, c: str) -> str:
    """One line of the sheet."""
    formula = mathml(sheet.tex(tex), display=False) if tex else ""
    return (
        f'<tr role="row"><th scope="row" role="rowheader">{escape(title)} <small>{escape(who)}</small></th>'
        f'<td role="cell">{formula}</td><td role="cell">{code(numpy, c)}</td></tr>'
    )


def code(numpy: str, c: str) -> str:
    """The same in both languages."""
    texts = (("NumPy", numpy), ("C", c))
    return "".join(
        f'<pre><span class="ql-lang">{name}</span><code>{escape(t.strip())}</code></pre>' for name, t in texts
    )


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("sheet", Sheet)
    return {"parallel_read_safe": True}
