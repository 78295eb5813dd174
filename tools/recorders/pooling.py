"""Chapter 10: pools of one image in two memory formats, with windows that give ties; averages of a chessboard."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = False
ENGINES = ("fbgemm", "qnnpack")
LAYOUTS = ("contiguous", "channels_last")
SCALE, ZERO_POINTS = 0.05, (3, 128)
CALLS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("max_pool2d", (3, 2, 1, 1, False)),
    ("max_pool2d", (2, 3, 1, 3, False)),
    ("max_pool2d", (3, 2, 0, 1, True)),
    ("avg_pool2d", ((2, 3), (2, 3), 0, False, True, None)),
    ("avg_pool2d", (2, 3, 1, False, True, None)),
    ("avg_pool2d", (2, 3, 1, False, False, None)),
    ("avg_pool2d", (4, 5, 0, True, True, None)),
    ("avg_pool2d", (2, 4, 0, False, True, 6)),
    ("adaptive_avg_pool2d", ((6, 4),)),
    ("adaptive_avg_pool2d", (5,)),
    ("adaptive_avg_pool2d", (1,)),
)
KEYS = {
    "x": "uint8 (1, 25, 12, 12): codes; the scale is 0.05, the zero points are 3 and 128",
    "<engine>/<layout>/<zero point>": "uint8 (n,): the codes of each pool in the recorder's CALLS, one after the other",
    "hard": "uint8 (1, 25, 4, 12): each 2 x 3 pixels have a sum on which fma and two roundings part; zero point 128",
    "hard/out": "uint8 (1, 25, 2, 4): adaptive_avg_pool2d of it, channels_last, in windows of 2 x 3",
    "board": "uint8 (1, 9, 14, 20): v and v + 1 in turn along W; scale 0.05, zero point 3",
    "board/out": "uint8 (1, 9, 2, 2): adaptive_avg_pool2d of the contiguous board in windows of 7 x 10",
    "large": "int32 (1, 2, 2, 2): a qint32 tensor, scale 0.05, zero point 0",
    "large/<layout>/<divisor>": "int32 (1, 2, 1, 1): avg_pool2d of it with a divisor_override",
}
DIVISORS = (2**24 + 1, 2**24 + 3, 3)

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    rng = np.random.default_rng(10)
    found: Arrays = {"x": rng.integers(0, 256, (1, 25, 12, 12), dtype=np.uint8)}
    pools = torch.nn.functional
    for engine in ENGINES:
        torch.backends.quantized.engine = engine
        for layout in LAYOUTS:
            for zero_point in ZERO_POINTS:
                t = torch._make_per_tensor_quantized_tensor(torch.from_numpy(found["x"]), SCALE, zero_point)
                last = torch.channels_last if layout == "channels_last" else torch.contiguous_format
                outs = [getattr(pools, name)(t.contiguous(memory_format=last), *args) for name, args in CALLS]
                codes = [out.int_repr().numpy().ravel() for out in outs]
                found[f"{engine}/{layout}/{zero_point}"] = np.concatenate(codes)
    torch.backends.quantized.engine = "fbgemm"
    v = np.array([0, 1, 2, 3, 40, 41, 127, 128, 254], np.uint8)
    found["board"] = np.broadcast_to(v[None, :, None, None] + np.arange(20, dtype=np.uint8) % 2, (1, 9, 14, 20)).copy()
    board = torch._make_per_tensor_quantized_tensor(torch.from_numpy(found["board"]), SCALE, 3)
    found["board/out"] = pools.adaptive_avg_pool2d(board, 2).int_repr().numpy()
    found["hard"] = hard(rng)
    t = torch._make_per_tensor_quantized_tensor(torch.from_numpy(found["hard"]), SCALE, 128)
    out = pools.adaptive_avg_pool2d(t.contiguous(memory_format=torch.channels_last), (2, 4))
    found["hard/out"] = out.int_repr().numpy()
    found["large"] = np.array(
        [[[[3 * 2**23 - 9, 2], [3, 4]], [[7 * 2**23, 0], [5, -5]]]], np.int32
    )  # 1.5 and 3.5 * 2**24
    large = torch._make_per_tensor_quantized_tensor(torch.from_numpy(found["large"]), SCALE, 0)
    for divisor in DIVISORS:
        for layout in LAYOUTS:
            last = torch.channels_last if layout == "channels_last" else torch.contiguous_format
            out = pools.avg_pool2d(large.contiguous(memory_format=last), 2, divisor_override=divisor)
            found[f"large/{layout}/{divisor}"] = out.int_repr().numpy()
    return found


def hard(rng: np.random.Generator) -> npt.NDArray[Any]:
    """Codes whose sums S of 6, less their zero points 128, times 1 / 6 lie near a tie, on one side of it or on it."""
    s, m = np.arange(-600, 600), np.float32(1) / np.float32(6)
    once = np.rint(s * np.float64(m) + 128)  # exact but for the last rounding, as fma is
    twice = np.rint(s.astype(np.float32) * m + np.float32(128))
    sums = rng.choice(s[once != twice], (25, 2, 4)) + 6 * 128
    each = sums[..., None] // 6 + (np.arange(6) < sums[..., None] % 6)  # (25, 2, 4, 6), adding up to the sums
    return each.reshape(25, 2, 4, 2, 3).swapaxes(2, 3).reshape(1, 25, 4, 12).astype(np.uint8)
