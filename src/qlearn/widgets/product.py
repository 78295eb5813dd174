"""The product (Chapter 5): two codes, nine multipliers, and how far from a tie each leaves the product."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from qlearn import recordings
from qlearn.widgets.base import Widget, module, within


class Product(Widget):
    """Multiply two quint8 codes by PyTorch's formula and by eight others that are equal on paper.

    ``preset`` counts along the recorded ``presets``: scale and zero point of both inputs and the product. ``q1`` and
    ``q2`` are the two codes. PyTorch's product of every pair is recorded, the same in bodies and tails, and packed in
    ``tables``.
    """

    _esm = module("product.js")
    preset = traitlets.Int(0).tag(sync=True)
    q1 = traitlets.Int(123).tag(sync=True)
    q2 = traitlets.Int(138).tag(sync=True)
    presets = traitlets.List(traitlets.List()).tag(sync=True)  # presets x 3 x (scale, zero point)
    tables = traitlets.Bytes().tag(sync=True)  # zlib; presets x 256 x 256; see packed

    def __init__(self, **traits: Any) -> None:
        presets, products = recorded_products()
        super().__init__(presets=presets, tables=packed(presets, products), **traits)

    _there = within(preset=lambda product: product.presets, q1=range(256), q2=range(256))

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        *inputs, (scale, zero_point) = question["preset"]
        a, b = (
            torch._make_per_tensor_quantized_tensor(torch.tensor([code], dtype=torch.uint8), *own)
            for code, own in zip(question["codes"], inputs, strict=True)
        )
        return {"code": int(torch.ops.quantized.mul(a, b, scale, zero_point).int_repr()[0])}


def recorded_products() -> tuple[list[Any], npt.NDArray[np.uint8]]:
    """The presets, and PyTorch's product of every pair of codes, (presets, 256, 256)."""
    found = recordings.load("product")
    presets = [[[s, int(z)] for s, z in preset] for preset in found["avx2/presets"].tolist()]
    return presets, np.array([found[f"avx2/mul/{i}/body"] for i in range(len(presets))])


def packed(presets: list[Any], products: npt.NDArray[np.uint8]) -> bytes:
    """What to add to the products on paper, modulo 256: mostly zeros."""
    return zlib.compress((products - np.array([on_paper(preset) for preset in presets])).astype(np.uint8).tobytes(), 9)


def on_paper(preset: Any) -> npt.NDArray[np.uint8]:
    """Every product of two uint8 codes in float64, [q1, q2] (eq-mul with no rounding but the last)."""
    (s1, z1), (s2, z2), (s, z) = preset
    c = (np.arange(256)[:, None] - z1) * (np.arange(256) - z2)
    codes: npt.NDArray[np.uint8] = np.clip(np.rint(s1 * s2 * c / s) + z, 0, 255).astype(np.uint8)
    return codes
