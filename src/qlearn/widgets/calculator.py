"""The calculator (Chapter 4): PyTorch's sum of two codes on every path, and which usual formula gives yours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import traitlets

from qlearn.widgets.base import Widget, module, release_trait, within
from qlearn.widgets.elementwise import pytorch_sums


class Calculator(Widget):
    """Type two codes and their parameters; get PyTorch's integer on each path, each step, and where yours comes from.

    ``s1``, ``z1``, ``q1``, ``s2``, ``z2``, ``q2`` are scale, zero point and code of the two inputs (quint8), ``s`` and
    ``z`` scale and zero point of the sum. ``yours`` is the integer that you got, None if you have none. ``release`` is
    "2.14", like all releases but one, or "2.13". With ``bits`` the steps show the bits of each float32.
    """

    _esm = module("arithmetic.js", "kit.js", "adding.js", "calculator.js")
    s1 = traitlets.Float(0.05).tag(sync=True)
    z1 = traitlets.Int(100).tag(sync=True)
    q1 = traitlets.Int(36).tag(sync=True)
    s2 = traitlets.Float(0.05).tag(sync=True)
    z2 = traitlets.Int(100).tag(sync=True)
    q2 = traitlets.Int(101).tag(sync=True)
    s = traitlets.Float(0.1).tag(sync=True)
    z = traitlets.Int(128).tag(sync=True)
    yours = traitlets.Int(96, allow_none=True).tag(sync=True)
    release = release_trait()
    bits = traitlets.Bool(False).tag(sync=True)

    @traitlets.validate("s1", "s2", "s")
    def _scale(self, proposal: dict[str, Any]) -> float:
        name, value = proposal["trait"].name, float(proposal["value"])
        with np.errstate(over="ignore", under="ignore"):
            single = float(np.float32(value))
        if not (math.isfinite(single) and single > 0):
            raise traitlets.TraitError(f"{name} must be positive and finite, as float32 too; got {value}")
        return value

    _codes = within(**dict.fromkeys(("z1", "q1", "z2", "q2", "z"), range(256)))

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        return pytorch_sums(torch, *question["codes"], *question["preset"])
