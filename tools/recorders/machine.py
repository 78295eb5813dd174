"""Chapter 8: one pair of codes, repeated; its sum changes where the path changes, so the paths can be read off."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recorders.two_paths import TELLING

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = True
SIZES = (1, 31, 63, 64, 65, 127, 128, 129, 200, 32768, 32769, 65536, 65573, 98305)
THREADS = (1, 2, 3)
KEYS = {
    "pair": "uint8 (2,): a pair of codes whose sum in the vector body is not the one in the tail",
    "parameters": "float64 (3, 2): of both codes and their sum, scale and zero point; quint8",
    "values": "uint8 (2,): torch.ops.quantized.add of the pair in the body, and in the tail",
    "paths/<n>/<threads>": "int64 (k, 3): start, stop, 1 for a body or 0 for a tail, of n times that pair on that many"
    " threads",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    def add(n: int, pair: tuple[int, int], parameters: Any) -> npt.NDArray[Any]:
        a, b = (
            torch._make_per_tensor_quantized_tensor(torch.full((n,), code, dtype=torch.uint8), *own)
            for code, own in zip(pair, parameters[:2], strict=True)
        )
        total: npt.NDArray[Any] = torch.ops.quantized.add(a, b, *parameters[2]).int_repr().numpy()
        return total

    pair, parameters = next(sum_ for sum_ in TELLING if len(set(add(129, *sum_))) == 2)
    values = add(129, pair, parameters)[[0, 128]]
    found: dict[str, npt.NDArray[Any]] = {
        "pair": np.array(pair, np.uint8),
        "parameters": np.array(parameters),
        "values": values,
    }
    for n in SIZES:
        for threads in THREADS:
            torch.set_num_threads(threads)
            is_body = (add(n, pair, parameters) == values[0]).astype(np.int64)
            cuts = np.concatenate([[0], np.flatnonzero(np.diff(is_body)) + 1, [n]])
            found[f"paths/{n}/{threads}"] = np.stack([cuts[:-1], cuts[1:], is_body[cuts[:-1]]], axis=1)
    torch.set_num_threads(1)
    return found
