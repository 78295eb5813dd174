"""Chapter 11: means of codes whose exact mean is a tie, so that the order of float32 additions shows in the integer."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = False
SCALES, ZERO_POINT = (0.05, 0.037, 0.3), 3
CASES: dict[str, tuple[tuple[int, ...], str, tuple[int, ...]]] = {  # shape, layout, dim
    "columns": ((1, 45, 7, 14), "channels_last", (2, 3)),
    "long columns": ((1, 6, 40, 60), "channels_last", (2, 3)),
    "rows": ((6, 210, 2, 3), "channels_last", (1,)),
    "sums of rows": ((14, 9, 21), "contiguous", (0, 2)),
    "narrow columns": ((9, 98, 5), "contiguous", (1,)),
    "across": ((3, 5, 6, 98), "channels_last", (3,)),
    "last": ((60, 2, 7), "contiguous", (1, 2)),
    "pixels": ((2, 40, 2, 3), "channels_last", (2, 3)),
}
THREADS = (1, 2, 3, 5)
KEYS = {
    "<case>": "uint8: codes; CASES of the recorder says how they lie and over which axes the mean is",
    "<case>/<engine>": "uint8 (3, ...): torch.mean with scales 0.05, 0.037 and 0.3, zero point 3",
    "all/<threads>": "uint8 (40,): means of all of 40,960 codes, channels_last; large() of the recorder",
}

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    found: Arrays = {}
    for i, (name, (shape, layout, dim)) in enumerate(CASES.items()):
        found[name] = tied(i, shape, dim)
        for engine in ("fbgemm", "qnnpack") if name == "pixels" else ("fbgemm",):
            torch.backends.quantized.engine = engine
            outs = []
            for scale in SCALES:
                t = torch._make_per_tensor_quantized_tensor(torch.from_numpy(found[name]), scale, ZERO_POINT)
                last = torch.channels_last if layout == "channels_last" else torch.contiguous_format
                outs.append(torch.mean(t.contiguous(memory_format=last), dim).int_repr().numpy())
            found[f"{name}/{engine}"] = np.stack(outs)
    torch.backends.quantized.engine = "fbgemm"
    for threads in THREADS:
        torch.set_num_threads(threads)
        means = []
        for codes, scale in large():
            t = torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), scale, ZERO_POINT)
            means.append(torch.mean(t.contiguous(memory_format=torch.channels_last)).int_repr().numpy())
        found[f"all/{threads}"] = np.array(means)
    torch.set_num_threads(1)
    return found


def large() -> list[tuple[npt.NDArray[np.uint8], float]]:
    """Forty tensors (1, 8, 64, 80) whose means are ties, with scales."""
    return [(tied(100 + i, (1, 8, 64, 80), (0, 1, 2, 3)), 0.01 + 0.0237 * i) for i in range(40)]


def tied(seed: int, shape: tuple[int, ...], dim: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Scattered codes below 255, some of them one higher, so that each sum over dim is half a code from a multiple.

    The same on every machine: the upper bits of multiples of the golden ratio's, not a generator's numbers.
    """
    multiples = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed << 20)) * np.uint64(0x9E3779B97F4A7C15)
    codes = (multiples >> np.uint64(37)).astype(np.int64).reshape(shape) % 255
    n = int(np.prod([shape[axis] for axis in dim]))
    short = (n // 2 - codes.sum(dim, keepdims=True)) % n
    index = np.arange(n).reshape([length if axis in dim else 1 for axis, length in enumerate(shape)])
    return np.asarray(codes + (index < short), np.uint8)
