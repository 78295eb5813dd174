"""Chapter 8: where PyTorch's tails lie, in tensors of many shapes, memory formats and numbers of threads."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = True
PARAMETERS = ((0.05, 100), (0.05, 100), (0.1, 128))  # of both inputs and their sum: scale, zero point
PAIRS = (  # of codes: where the sum in the body is not the one in the tail
    (36, 101),  # on AVX2 and AVX512, in every release
    (78, 141),  # on AVX2 and AVX512, in every release but 2.13
    (136, 105),  # on AVX2 and AVX512, in 2.13 alone
    (1, 2),  # on DEFAULT, in 2.13 alone
    (100, 150),  # nowhere: it is no tie
)
TELLING = (  # a pair and its parameters; the first whose sums part says where the tails lie
    ((255, 255), ((0.05, 100), (0.05, 100), (2.0**-40, 128))),  # beyond int32, where the body's zero point wraps around
    ((132, 39), ((0.05, 128), (0.05, 128), (0.1, 128))),  # DEFAULT in 2.13
)
CHANNELS = (1, 3, 8, 16)
SIDES = (*range(1, 17), 28, 32, 56, 64, 65, 91, 112, 113, 128, 182, 224, 225)
FORMATS = ("contiguous", "channels_last")
THREADS = (1, 2, 3, 4)
KEYS = {
    "parameters": "float64 (3, 2): of both inputs and their sum, scale and zero point; quint8",
    "pairs": "uint8 (5, 2): pairs of codes",
    "values": "uint8 (5, 2): torch.ops.quantized.add of each pair, in the vector body and in the tail",
    "channels": "int64 (4,): C of the shapes (1, C, side, side)",
    "sides": "int64 (28,): height and width of the shapes",
    "counts": "int64 (4, 28, 2, 4): number of tails by C, side, memory format (contiguous, channels_last), threads 1-4",
    "tails": "int32 (k, 2): start and stop of each tail, in the order of counts; positions in the result's memory",
    "strides": "int64 (4, 28, 2, 4): strides of the result (N, C, H, W), one thread",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    def add(a: Any, b: Any, one: Any, two: Any, out: Any) -> Any:
        qa, qb = (torch._make_per_tensor_quantized_tensor(q, *own) for q, own in ((a, one), (b, two)))
        return torch.ops.quantized.add(qa, qb, *out).int_repr()

    def filled(shape: tuple[int, ...], code: int, channels_last: bool = False) -> Any:
        codes = torch.full(shape, code, dtype=torch.uint8)
        return codes.contiguous(memory_format=torch.channels_last) if channels_last else codes

    def both(pair: tuple[int, int], parameters: Any) -> tuple[int, int]:
        total = add(*(filled((129,), code) for code in pair), *parameters)  # AVX-512 of old takes 128 at once
        return total[0].item(), total[128].item()

    values = [both(pair, PARAMETERS) for pair in PAIRS]
    pair, parameters = next(sum_ for sum_ in TELLING if len(set(both(*sum_))) == 2)
    tail = both(pair, parameters)[1]

    grid = (len(CHANNELS), len(SIDES), len(FORMATS))
    counts = np.zeros((*grid, len(THREADS)), np.int64)
    strides = np.zeros((*grid, 4), np.int64)
    tails = []
    for i, j, channels_last in np.ndindex(grid):
        shape = (1, CHANNELS[i], SIDES[j], SIDES[j])
        a, b = (filled(shape, code, bool(channels_last)) for code in pair)
        for k, threads in enumerate(THREADS):
            torch.set_num_threads(threads)
            total = add(a, b, *parameters)
            in_memory = total.as_strided((total.numel(),), (1,)).numpy()
            edges = np.flatnonzero(np.diff(np.pad(in_memory == tail, 1).astype(np.int8))).reshape(-1, 2)
            counts[i, j, channels_last, k] = len(edges)
            tails.append(edges)
            if threads == 1:
                strides[i, j, channels_last] = total.stride()
    torch.set_num_threads(1)
    return {
        "parameters": np.array(PARAMETERS),
        "pairs": np.array(PAIRS, np.uint8),
        "values": np.array(values, np.uint8),
        "channels": np.array(CHANNELS),
        "sides": np.array(SIDES),
        "counts": counts,
        "tails": np.concatenate(tails).astype(np.int32),
        "strides": strides,
    }
