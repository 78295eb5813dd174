"""Find my wrong integer: PyTorch's integer on every path, each number on the way, and whose arithmetic gives yours."""

from __future__ import annotations

from typing import Any

import traitlets

from qlearn.widgets.base import Widget, module, with_imports

class Finder(Widget):
    """Put in an operator's numbers and the one that you got; see whose arithmetic gives it, and where the two part.

    ``operator`` is one of the list's. ``values`` has its parameters and inputs by their names; those that are not there are the
    operator's examples. ``yours`` is the number that you got, None if you have none. ``many`` takes columns of numbers
    in place of one; ``bits`` shows the bits of each number on the way.
    """

    _esm = module(*with_imports("finder.js"))
    operator = traitlets.Unicode("add").tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    yours = traitlets.Float(None, allow_none=True).tag(sync=True)
    many = traitlets.Bool(False).tag(sync=True)
    bits = traitlets.Bool(False).tag(sync=True)

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        return {"says": []}
