"""Every operator of the conformance table but the layers, on every engine: a few small drawn cases and the answers."""

import ctypes
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

import drawn_layers
import frozen
from apart import apart
from drawing import LAYOUTS, REFUSED, Observed, Operator
from operators import OPERATORS
from recorders import engines, switched

KINDS = ("default", "avx2", "avx512")
DEPENDS = ("libc",)
EVERY_RELEASE = True
SEED, CASES = 1013, 35
SIZES = (1, 15, 64, 65, 130, 257, 700)  # elements: tails alone, a body alone, both; as many sizes as LAYOUTS
DTYPES = ("quint8", "qint8", "qint8", "quint8", "qint32")
FREE = ("observers", "max_pool1d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "interpolate", "shapes")
"""Those that draw their layouts themselves."""
LACKING, NOT_ASKED, ENDED, ANYTHING = "lacking", "not asked", "ended", "anything"
PAIRS = ("add", "add_relu", "mul", "mul_relu")
"""Those that XNNPACK computes for qint8 in releases up to 2.12, which then reads and writes beyond some tensors."""
M_PERTURB = -6  # of the C library's mallopt: fill what is allocated
KEYS = {
    "inputs/<operator>/data": "uint8: the bytes of the inputs of all cases of an operator, one after the other",
    "inputs/<operator>/cases": "text: JSON, what each case is called with and where its arrays lie; tools/frozen.py",
    "<engine>/<operator>/data": "uint8: the bytes of PyTorch's answers to them",
    "<engine>/<operator>/answers": "text: JSON, each answer's shape, strides, scale, zero point and dtype, and where "
    "its array lies; or that PyTorch refused the input, is lacking the operator, was not asked, ended its process, or "
    "gave anything: another answer where the memory around was another",
}

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """All arrays of this recording, from the running PyTorch."""
    names = [name for name in OPERATORS if name not in drawn_layers.NAMES]
    return answers({name: list(drawn(name)) for name in names})


def drawn(name: str) -> Iterable[Any]:
    """The cases of an operator: all layouts, sizes and dtypes."""
    rng = np.random.default_rng([SEED, list(OPERATORS).index(name)])
    draw = OPERATORS[name].draw
    for i in range(CASES):
        n, dtype = SIZES[i % len(SIZES)], DTYPES[i % len(DTYPES)]
        if name == "observers":
            yield few(draw(rng))
        elif "quantize" in name:
            yield draw(rng, n=n, dtype=dtype)
        elif name in FREE:
            yield draw(rng, n=n, dtype=dtype, most=6)
        else:
            yield draw(rng, n=n, dtype=dtype, layout=LAYOUTS[(i + i // len(SIZES)) % len(LAYOUTS)])


def few(case: Observed) -> Observed:
    """The same of fewer numbers."""
    return case._replace(batches=[batch[:4, :50] for batch in case.batches])


def answers(cases: dict[str, list[Any]]) -> Arrays:
    """The cases of some operators, and what PyTorch answers on each engine."""
    import torch

    warnings.filterwarnings("ignore", message="Please use quant_min")
    found: Arrays = {}
    for name, drawn_cases in cases.items():
        found[f"inputs/{name}/data"], found[f"inputs/{name}/cases"] = frozen.freeze(drawn_cases)
        for engine in [engine for engine in OPERATORS[name].engines if engine in engines()]:
            torch.backends.quantized.engine = engine
            given = survived(name, drawn_cases, 0x55)
            if name in PAIRS:
                given = list(map(same, given, survived(name, drawn_cases, 0xAA)))
            found[f"{engine}/{name}/data"], found[f"{engine}/{name}/answers"] = frozen.freeze(given)
    return found


def survived(name: str, cases: list[Any], fill: int) -> list[Any]:
    """``asked`` in a process of its own; in one for each case, if one of them ends it, and ENDED for that one."""
    given, ended = apart(asked, name, cases, fill)
    return [(apart(asked, name, [case], fill)[0] or [ENDED])[0] for case in cases] if ended else list(given)


def same(one: Any, other: Any) -> Any:
    """The answer, if it is twice the same, else ANYTHING."""
    (data, text), (more, words) = frozen.freeze([one]), frozen.freeze([other])
    return one if str(text) == str(words) and np.array_equal(data, more) else ANYTHING


def asked(name: str, cases: list[Any], fill: int) -> list[Any]:
    """PyTorch's answer to each case, or REFUSED, LACKING or NOT_ASKED; fresh memory holds a byte, fill."""
    ctypes.CDLL(None).mallopt(M_PERTURB, fill)
    return [one_asked(OPERATORS[name], case) for case in cases]


def one_asked(operator: Operator, case: Any) -> Any:
    """The same of one."""
    if isinstance(case, drawn_layers.Layer) and goes_by_the_cpu(case):
        return NOT_ASKED
    try:
        return operator.torch(case)
    except RuntimeError:
        return REFUSED
    except AttributeError as error:
        if "_OpNamespace" not in str(error):
            raise
        return LACKING


def goes_by_the_cpu(layer: drawn_layers.Layer) -> bool:
    """Whether FBGEMM would take its kernel for small groups, which is the CPU's own whatever FBGEMM is told."""
    import torch

    grouped = bool(layer.geometry) and layer.geometry[-1] > 1 and layer.weight.shape[1] in (2, 4, 8, 16)
    return grouped and switched() and torch.backends.quantized.engine == "fbgemm"
