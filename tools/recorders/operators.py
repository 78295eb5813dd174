"""Every operator of the conformance table but the layers, on every engine: a few small drawn cases and the answers."""

import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt

import drawn_layers
import frozen
from operators import LAYOUTS, OPERATORS, REFUSED, Observed, Operator
from recorders import engines, switched

KINDS = ("default", "avx2", "avx512")
DEPENDS = ("libc",)
EVERY_RELEASE = True
SEED, CASES = 1013, 35
SIZES = (1, 15, 64, 65, 130, 257, 700)  # elements: tails alone, a body alone, both; as many sizes as LAYOUTS
DTYPES = ("quint8", "qint8", "qint8", "quint8", "qint32")
FREE = ("observers", "max_pool1d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "interpolate", "shapes")
"""Those that draw their layouts themselves."""
LACKING, NOT_ASKED, ENDED = "lacking", "not asked", "ended"
KEYS = {
    "inputs/<operator>/data": "uint8: the bytes of the inputs of all cases of an operator, one after the other",
    "inputs/<operator>/cases": "text: JSON, what each case is called with and where its arrays lie; tools/frozen.py",
    "<engine>/<operator>/data": "uint8: the bytes of PyTorch's answers to them",
    "<engine>/<operator>/answers": "text: JSON, each answer's shape, strides, scale, zero point and dtype, and where "
    "its array lies; or that PyTorch refused the input, is lacking the operator, ended its process, or was not asked",
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
            given = apart(asked, name, drawn_cases)
            given = given or [(apart(asked, name, [case]) or [ENDED])[0] for case in drawn_cases]
            found[f"{engine}/{name}/data"], found[f"{engine}/{name}/answers"] = frozen.freeze(given)
    return found


def apart(function: Callable[..., list[Any]], *args: Any) -> list[Any] | None:
    """What a function returns, called in a process of its own; None if that is ended, as by a write beyond a tensor."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool:
            return None


def asked(name: str, cases: list[Any]) -> list[Any]:
    """PyTorch's answer to each case, or REFUSED, LACKING or NOT_ASKED."""
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
