"""Formulas become MathML while the book is built: KaTeX runs in an embedded V8, the page needs no script.

A numbered formula of Chapter 4 is (4.1), (4.2), ...: the number says where to look.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Any

from docutils import nodes
from py_mini_racer import JSEvalException, MiniRacer
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator


@cache
def katex() -> MiniRacer:
    """An engine with the KaTeX that sphinxcontrib-katex ships."""
    engine = MiniRacer()
    engine.eval((files("sphinxcontrib") / "katex.min.js").read_text(encoding="utf-8"))
    return engine


@cache
def mathml(tex: str, display: bool) -> str:
    """One formula in TeX -> a ``<math>`` element."""
    options = {"displayMode": display, "output": "mathml", "throwOnError": True, "strict": "error"}
    try:
        html: str = katex().call("katex.renderToString", tex, options)
    except JSEvalException as error:
        raise SphinxError(f"KaTeX cannot read the formula {tex!r}: {str(error).splitlines()[0]}") from error
    return html.removeprefix('<span class="katex">').removesuffix("</span>")


def inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), display=False))
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    ids = "".join(f' id="{name}"' for name in node["ids"][:1])
    self.body.append(f'<div class="equation"{ids}>')
    self.body.append(mathml(node.astext(), display=True))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>")
    raise nodes.SkipNode


def number_by_chapter(app: Sphinx, doctree: nodes.document) -> None:
    """Put the chapter's number, which its title begins with, before those of its formulas."""
    title = doctree.next_node(nodes.title)
    chapter = re.match(r"\d+(?= · )", title.astext()) if title else None
    equations = app.env.get_domain("math").equations  # type: ignore[attr-defined]
    for formula in doctree.findall(nodes.math_block) if chapter else ():
        if formula["number"]:
            formula["number"] = f"{chapter[0]}.{formula['number']}"
            equations[formula["label"]] = (app.env.docname, formula["number"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", number_by_chapter)
    app.add_html_math_renderer("build_time", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
