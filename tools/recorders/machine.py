"""Chapter 8: one pair of codes, repeated; its sum changes where the path changes, so the paths can be read off."""

from typing import Any

import numpy as np
import numpy.typing as npt

CAPABILITIES = ("default", "avx2", "avx512")
SCALES, ZERO_POINTS = (0.05, 0.05, 0.1), (128, 128, 128)
SIZES = (1, 31, 63, 64, 65, 127, 128, 129, 200, 32768, 32769, 65536, 65573, 98305)
THREADS = (1, 2, 3)
KEYS = {
    "pair": "uint8 (2,): codes of the first pair whose sum differs between vector body and tail",
    "values": "uint8 (2,): its sum in the body, its sum in the tail",
    "paths/<n>/<threads>": "int64 (k, 3): start, stop, 1 for a body or 0 for a tail, of n times that pair on that many"
    " threads; torch.ops.quantized.add, quint8, scales 0.05, 0.05, 0.1, zero points 128",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    def add(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        qa, qb = (
            torch._make_per_tensor_quantized_tensor(torch.from_numpy(q), s, z)
            for q, s, z in zip((a, b), SCALES, ZERO_POINTS, strict=False)
        )
        total: npt.NDArray[Any] = torch.ops.quantized.add(qa, qb, SCALES[2], ZERO_POINTS[2]).int_repr().numpy()
        return total

    codes = np.arange(256, dtype=np.uint8)
    a, b = np.repeat(codes, 256), np.tile(codes, 256)
    body = add(a, b)
    tail = np.concatenate([add(a[i : i + 63], b[i : i + 63]) for i in range(0, len(a), 63)])
    pair = int(np.flatnonzero(body != tail)[0])
    found: dict[str, npt.NDArray[Any]] = {
        "pair": np.array([a[pair], b[pair]]),
        "values": np.array([body[pair], tail[pair]]),
    }
    for n in SIZES:
        for threads in THREADS:
            torch.set_num_threads(threads)
            is_body = (add(np.full(n, a[pair]), np.full(n, b[pair])) == body[pair]).astype(np.int64)
            cuts = np.concatenate([[0], np.flatnonzero(np.diff(is_body)) + 1, [n]])
            found[f"paths/{n}/{threads}"] = np.stack([cuts[:-1], cuts[1:], is_body[cuts[:-1]]], axis=1)
    torch.set_num_threads(1)
    return found
