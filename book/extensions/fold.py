"""What is folded says what it opens, and opens without a script: solutions, hints, dropdowns, code out of sight.

Each is a ``<details>`` whose summary is its name: "Show the solution", "Show the hint", "Show the code", or a title.
"""

from html import escape
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from sphinx_exercise.nodes import solution_node


def summary(closed: str, opened: str) -> str:
    """The line that stays when the rest is folded away; which of its two names is seen, the style says."""
    return f'<summary><span class="collapsed">{closed}</span><span class="expanded">{opened}</span></summary>\n'


def unfold(self: HTML5Translator, node: nodes.Element, kind: str, closed: str, opened: str) -> None:
    self.body.append(self.starttag(node, "details", CLASS=f"ql-fold {kind}") + summary(closed, opened))


def visit_solution(self: HTML5Translator, node: nodes.Element) -> None:
    node.pop(0)  # the title, which only says of which exercise
    unfold(self, node, "solution", "Show the solution", "Hide the solution")


def visit_hint(self: HTML5Translator, node: nodes.Element) -> None:
    unfold(self, node, "hint", "Show the hint", "Hide the hint")


def is_dropdown(node: nodes.Element | None) -> bool:
    return isinstance(node, nodes.admonition) and "dropdown" in node["classes"]


def visit_admonition(self: HTML5Translator, node: nodes.Element, name: str = "") -> None:
    if is_dropdown(node):
        title = escape(node.pop(0).astext())
        unfold(self, node, "", title, title)
    else:
        type(self).visit_admonition(self, node, name)


def visit_code(self: HTML5Translator, node: nodes.Element) -> None:
    unfold(self, node, "hide", escape(node["prompt_show"]), escape(node["prompt_hide"]))


def depart(self: HTML5Translator, node: nodes.Element) -> None:
    self.body.append("</details>\n")


def depart_admonition(self: HTML5Translator, node: nodes.Element | None = None) -> None:
    self.body.append("</details>\n" if is_dropdown(node) else "</div>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(solution_node, override=True, html=(visit_solution, depart))
    app.add_node(nodes.hint, override=True, html=(visit_hint, depart))
    app.add_node(nodes.admonition, override=True, html=(visit_admonition, depart_admonition))
    app.add_node(HideCodeCellNode, override=True, html=(visit_code, depart))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
