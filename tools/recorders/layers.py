"""Linear layers and convolutions of every kind on every engine, small, drawn; recorded like the other operators."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

import drawn_layers
from qlearn import Machine
from qlearn.machine.machine import ENGINES
from recorders import operators

KINDS = ("default", "avx2", "avx512", "without_vnni")
DEPENDS = ("cpu",)
EVERY_RELEASE = True
SEED, CASES = 1077, 24
MACHINES = [Machine(engine, "AVX2", 1, vnni) for engine in ENGINES for vnni in (True, False)]
KEYS = operators.KEYS


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    return operators.answers({name: list(drawn(name)) for name in drawn_layers.NAMES})


def drawn(name: str) -> Iterable[drawn_layers.Layer]:
    """The layers of an operator: every kind of convolution, over 7 and 8 bits, some weights asymmetric."""
    rng = np.random.default_rng([SEED, drawn_layers.NAMES.index(name)])
    for i in range(CASES):
        options: dict[str, Any] = {"bits": 7 + i % 2, "symmetric": i % 6 < 4, "relu": name.endswith("_relu")}
        if name.startswith("linear"):
            yield drawn_layers.draw_linear(rng, (1 + 2 * i, (1, 9, 17, 64)[i % 4]), (1, 7, 16, 33)[i % 3], **options)
            continue
        kind = drawn_layers.KINDS[i % 4]
        while True:
            layer = drawn_layers.draw_conv(rng, int(name[4]), *MACHINES, kind=kind, longest=8, **options)
            if layer.x.size < 2000 and layer.weight.size < 2000:
                break
        yield drawn_layers.with_accum(rng, layer) if "add" in name else layer
