"""Find my wrong integer: PyTorch's integer on every path, each number on the way, and whose arithmetic gives yours."""

from __future__ import annotations

from typing import Any

import traitlets

from qlearn.runtimes import known
from qlearn.widgets.base import Widget, module
from qlearn.widgets.finder_torch import numbers


class Finder(Widget):
    """Put in an operator's numbers and the one that you got; see whose arithmetic gives it, and where the two part.

    ``operator`` is one of ``qlearn.runtimes.known.OPERATORS``. ``values`` has its parameters and inputs by their names;
    for those that it lacks the page has examples. ``yours`` is the number that you got, None if you have none. With
    ``many`` the page takes columns of numbers in place of one; with ``bits`` it shows each number's bits.
    """

    _esm = module("finder.js")
    operator = traitlets.Enum(tuple(known.OPERATORS), "add").tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    yours = traitlets.Float(None, allow_none=True).tag(sync=True)
    many = traitlets.Bool(False).tag(sync=True)
    bits = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        parameters = {name: value for name, value in self.values.items() if name in known.OPERATORS[self.operator]}
        if len(parameters) == len(known.OPERATORS[self.operator]) and (
            wrong := known.refuses(self.operator, parameters)
        ):
            raise traitlets.TraitError(wrong)

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        return {"says": [list(said) for said in numbers(torch, question["operator"], question["values"])]}
