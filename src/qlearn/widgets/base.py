"""What all widgets share: one module made of a few files, and a question that a running PyTorch answers."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from qlearn.machine.releases import BOOK, ZERO_POINT_FIRST

RELEASES = (BOOK, ZERO_POINT_FIRST.first)
"""What a figure can be told to show: the arithmetic of all releases but one, and of that one (arithmetic.js)."""


def release_trait() -> Any:
    """A trait for one of ``RELEASES``."""
    return traitlets.Enum(RELEASES, RELEASES[0]).tag(sync=True)


def read(name: str) -> str:
    """A file beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


IMPORT = r'^import \{[^}]*\} from "\./([^"]+)";\n'


def module(name: str) -> str:
    """Join a JavaScript file and all that it imports, since a page gives a widget's code as a single text.

    The files are modules themselves (so that tests import them as they are); ``import`` lines between them and the
    ``export`` in front of a declaration go. What a file does not export stays its own, but for the last one's.
    """
    *shared, last = (re.sub(IMPORT, "", read(one), flags=re.MULTILINE) for one in with_imports(name))
    return "\n".join(re.sub(EXPORT, r"\1", text, flags=re.MULTILINE) for text in (*map(_scope, shared), last))


EXPORT = r"^export ((?:async )?(?:const|function|class) (?:(\w+)|[\[{]([^\]}]*)[\]}]))"


def _scope(text: str) -> str:
    """A file in a scope of its own, from which its exports come out."""
    found = re.findall(EXPORT, text, flags=re.MULTILINE)
    names = ", ".join(one or several.strip() for _, one, several in found)
    return f"const {{ {names} }} = (() => {{\n{text}\nreturn {{ {names} }};\n}})();"


def with_imports(name: str) -> tuple[str, ...]:
    """A file and all that it imports, each after those that it needs."""
    found: dict[str, None] = {}
    for needed in re.findall(IMPORT, read(name), flags=re.MULTILINE):
        found |= dict.fromkeys(with_imports(needed))
    return *found, name


def within(**allowed: range | Callable[[Any], Sequence[Any]]) -> Any:
    """What validates traits by name: each an integer of its range, or a place in the list found in the widget."""

    @traitlets.validate(*allowed)
    def validate(widget: Any, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, int(proposal["value"])
        known = allowed[name]
        places = known if isinstance(known, range) else range(len(known(widget)))
        if value not in places:
            raise traitlets.TraitError(f"{name} must be {places.start} to {places.stop - 1}, got {value}")
        return value

    return validate


def finite(*names: str) -> Any:
    """What validates traits by name: each a finite number."""

    @traitlets.validate(*names)
    def validate(widget: Any, proposal: dict[str, Any]) -> float:
        name, value = proposal["trait"].name, float(proposal["value"])
        if not math.isfinite(value):
            raise traitlets.TraitError(f"{name} must be finite; got {value}")
        return value

    return validate


class Widget(anywidget.AnyWidget):
    """A figure with recorded answers, which asks the installed PyTorch too when a kernel runs.

    The page sets ``question``; :meth:`ask_torch` of the subclass computes; ``answer`` carries the result back with the
    question's ``id``. With no kernel nobody answers, and the figure shows what was recorded.
    """

    _css = read("kit.css")
    question = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        """What PyTorch says to a question, as plain numbers and lists."""
        raise NotImplementedError

    @traitlets.observe("question")
    def _reply(self, change: dict[str, Any]) -> None:
        try:
            import torch
        except ImportError:
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*quantized tensor.*deprecated")
            said = self.ask_torch(torch, change["new"])
        self.answer = {"id": change["new"]["id"], "version": torch.__version__, **said}
