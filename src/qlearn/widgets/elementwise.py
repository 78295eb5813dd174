"""The addition table (Chapter 4): all 65,536 sums of two codes, PyTorch's and a formula's, and each step of one sum."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from qlearn import recordings
from qlearn.widgets.base import RELEASES, Widget, module, release_trait, within

PRESETS = {
    "the question’s": 0,
    "issue 37343": 1,
    "all equal": 2,
    "twice the inputs’": 7,
    "twice, all at 128": 3,
    "one is half": 4,
    "three quarters": 5,
    "powers of two": 6,
}
"""What the presets of scales and zero points are called -> their place in the recording."""
TABLES = ("avx2/{}/body", "avx2/{}/tail", "default/{}/body", "avx2/{}/qnnpack")
"""Where PyTorch's sums are recorded, in the order of ``path``."""
FORMULAS = 8  # in adding.js


class AdditionTable(Widget):
    """See every sum of two quint8 codes at once, and where a formula gives another integer than PyTorch.

    ``preset`` counts along ``PRESETS`` (``presets``: scales and zero points of both inputs and the sum). ``path`` and
    ``release`` are whose integers are right: 0 the vector body of AVX2 and AVX512, 1 the scalar tail, 2 the body of
    DEFAULT, 3 the engine qnnpack; "2.14", like all releases but one, or "2.13". ``formula`` counts along the page's
    formulas; ``q1`` and ``q2`` are the codes that are looked at.
    """

    _esm = module("elementwise.js")
    preset = traitlets.Int(3).tag(sync=True)
    path = traitlets.Int(0).tag(sync=True)
    release = release_trait()
    formula = traitlets.Int(1).tag(sync=True)
    q1 = traitlets.Int(36).tag(sync=True)
    q2 = traitlets.Int(101).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    presets = traitlets.List(traitlets.List()).tag(sync=True)  # presets x 3 x (scale, zero point)
    tables = traitlets.Bytes().tag(sync=True)  # zlib; presets x releases x 4 x 256 x 256; see packed

    def __init__(self, **traits: Any) -> None:
        presets = recordings.load("addition_table")["avx2/presets"][list(PRESETS.values())].tolist()
        presets = [[[s, int(z)] for s, z in preset] for preset in presets]
        super().__init__(names=list(PRESETS), presets=presets, tables=packed(recorded_sums()), **traits)

    _there = within(
        preset=range(len(PRESETS)), path=range(len(TABLES)), formula=range(FORMULAS), q1=range(256), q2=range(256)
    )

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        return pytorch_sums(torch, *question["codes"], *question["preset"])


def recorded_sums() -> npt.NDArray[np.uint8]:
    """PyTorch's recorded sums of every pair of codes, (presets, releases, paths, 65536)."""
    by_release = [recordings.load("addition_table", release) for release in RELEASES]
    sums = [[[found[key.format(i)] for key in TABLES] for found in by_release] for i in PRESETS.values()]
    return np.array(sums).reshape(len(PRESETS), len(RELEASES), len(TABLES), -1)


def packed(sums: npt.NDArray[np.uint8]) -> bytes:
    """Of each preset the first table, and what to add to it, modulo 256, for the others: mostly zeros."""
    of_preset = sums.reshape(len(sums), -1, sums.shape[-1])
    return zlib.compress(np.concatenate([of_preset[:, :1], of_preset[:, 1:] - of_preset[:, :1]], axis=1).tobytes(), 9)


def pytorch_sums(torch: Any, q1: int, q2: int, one: Any, two: Any, out: Any) -> dict[str, Any]:
    """The sum of two codes by the running PyTorch: in its vector body, in a tail, and by the engine qnnpack.

    ``one``, ``two`` and ``out`` are (scale, zero point). ``qnnpack`` is None where PyTorch refuses.
    """

    def total(elements: int) -> int:
        a, b = (
            torch._make_per_tensor_quantized_tensor(torch.full((elements,), q, dtype=torch.uint8), scale, zero_point)
            for q, (scale, zero_point) in ((q1, one), (q2, two))
        )
        return int(torch.ops.quantized.add(a, b, *out).int_repr()[0])

    backend = torch.backends.quantized
    engine, capability = backend.engine, torch.backends.cpu.get_cpu_capability()
    try:
        backend.engine = "fbgemm"
        body, tail = total(64), total(1)
        backend.engine = "qnnpack"
        try:
            qnnpack = total(64)
        except RuntimeError:  # a ratio of scales that QNNPACK does not take
            qnnpack = None
    finally:
        backend.engine = engine
    return {"capability": capability, "body": body, "tail": tail, "qnnpack": qnnpack}
