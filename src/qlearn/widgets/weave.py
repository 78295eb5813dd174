"""The weave (the first page): where PyTorch's sum of two codes is not the formula's, and each step of one of them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from qlearn import recordings
from qlearn.widgets.base import Widget, module, within
from qlearn.widgets.elementwise import pytorch_sums


class Weave(Widget):
    """Point at a dot, a pair of quint8 codes, and see where the formula on paper and PyTorch part.

    ``rows`` and ``columns`` are the first codes that are shown and how many, of the table of all 65,536 sums; ``q1``
    and ``q2`` are the codes that are looked at. ``preset`` has scale and zero point of both inputs and of the sum.
    ``sums`` packs PyTorch's recorded sums, those of the vector body of AVX2 and AVX512, the same in every release.
    """

    _esm = module("weave.js")
    rows = traitlets.List(traitlets.Int(), [0, 256]).tag(sync=True)
    columns = traitlets.List(traitlets.Int(), [0, 256]).tag(sync=True)
    q1 = traitlets.Int(128).tag(sync=True)
    q2 = traitlets.Int(128).tag(sync=True)
    preset = traitlets.List(traitlets.List()).tag(sync=True)  # 3 x (scale, zero point)
    sums = traitlets.Bytes().tag(sync=True)  # zlib; uint8, 256 x 256

    def __init__(self, **traits: Any) -> None:
        preset, sums = recorded_sums()
        super().__init__(preset=preset, sums=zlib.compress(sums.tobytes(), 9), **traits)

    _there = within(q1=range(256), q2=range(256))

    @traitlets.validate("rows", "columns")
    def _band(self, proposal: dict[str, Any]) -> list[int]:
        name, value = proposal["trait"].name, list(proposal["value"])
        if not (len(value) == 2 and 0 <= value[0] < sum(value) <= 256):
            raise traitlets.TraitError(f"{name} must be a first code and a count within 256, got {value}")
        return value

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        return pytorch_sums(torch, *question["codes"], *self.preset)


def recorded_sums() -> tuple[list[Any], npt.NDArray[np.uint8]]:
    """Scales and zero points, and PyTorch's sum of every pair of codes, (256, 256)."""
    found = recordings.load("elementwise")
    return [[s, int(z)] for s, z in found["avx2/presets"][0].tolist()], found["avx2/add/0/body"]
