"""Chapter 2: what PyTorch does within a few float32 steps of each tie."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = True
STEPS = 12
PRESETS = ((0.05, 128), (0.05, 127), (0.1, 0), (0.1, 3), (0.037, 90), (0.009925744496285915, 75), (0.00214854861, 0))
CASES = (  # scale, zero point, the float32 in the middle: what the chapter's figure shows
    (0.5, 0, 10.25),  # every formula agrees
    (0.5, 1, 9.75),  # a tie and an odd zero point
    (0.00214854861, 0, 0.273939937),  # division and multiplication: the example in FBGEMM's QuantUtils.h
    (1 / 255, 0, 0.39411765),  # the scale in float64 and in float32
    (0.05, 127, 0.875),  # adding the zero point rounds to a tie, and the tie turns around
    (0.009925744496285915, 75, 1.2456809),  # one rounding and two
    (0.40377316, 128, 0.20188966),  # a float64 sum rounded to float32 is not a fused multiply-add
    (0.05, 128, 6.375),  # beyond the last code
)
KEYS = {
    "cases": "float64 (8, 2): scale, zero point; quint8; the cases of the chapter's figure",
    "cases/x": "float32 (8, 25): 25 float32 numbers in a row",
    "cases/tensor": "uint8 (8, 25): torch.quantize_per_tensor(x, scale, zero_point, quint8).int_repr(), row by row",
    "cases/channel": "uint8 (8, 25): torch.quantize_per_channel of all rows, a scale and a zero point for each",
    "presets": "float64 (7, 2): scale, zero point; quint8",
    "ties/<i>/k": "float64 (32,): some k + 0.5 from -0.5 to 255.5; the tie is at (that - zero_point) * scale",
    "ties/<i>/x": "float32 (32, 25): float32 of the tie in the middle, 12 float32 numbers below and above it",
    "ties/<i>/tensor": "uint8 (32, 25): torch.quantize_per_tensor(x, scale, zero_point, quint8).int_repr()",
    "ties/<i>/channel": "uint8 (32, 25): torch.quantize_per_channel of the same, the same scale in each channel",
    "ties/<i>/qint32": "int32 (32, 25): torch.quantize_per_tensor(x, scale, zero_point, qint32).int_repr()",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    found: dict[str, npt.NDArray[Any]] = {"presets": np.array(PRESETS)}
    for i, (scale, zero_point) in enumerate(PRESETS):
        k = np.unique(np.linspace(-1, 255, 32).round()) + 0.5
        x = neighbours(((k - zero_point) * scale).astype(np.float32))
        real = torch.from_numpy(x)
        scales, zero_points = torch.full((len(k),), scale, dtype=torch.float64), torch.full((len(k),), zero_point)
        per_channel = torch.quantize_per_channel(real, scales, zero_points, 0, torch.quint8)
        found[f"ties/{i}/k"] = k
        found[f"ties/{i}/x"] = x
        found[f"ties/{i}/tensor"] = torch.quantize_per_tensor(real, scale, zero_point, torch.quint8).int_repr().numpy()
        found[f"ties/{i}/channel"] = per_channel.int_repr().numpy()
        found[f"ties/{i}/qint32"] = torch.quantize_per_tensor(real, scale, zero_point, torch.qint32).int_repr().numpy()
    return found | _cases(torch)


def _cases(torch: Any) -> dict[str, npt.NDArray[Any]]:
    scales, zero_points = [scale for scale, _, _ in CASES], [zero_point for _, zero_point, _ in CASES]
    x = neighbours(np.array([middle for _, _, middle in CASES], np.float32))
    real = torch.from_numpy(x)
    rows = zip(real, scales, zero_points, strict=True)
    tensor = torch.stack([torch.quantize_per_tensor(row, s, z, torch.quint8).int_repr() for row, s, z in rows])
    channel = torch.quantize_per_channel(
        real, torch.tensor(scales, dtype=torch.float64), torch.tensor(zero_points), 0, torch.quint8
    )
    return {
        "cases": np.array([scales, zero_points]).T,
        "cases/x": x,
        "cases/tensor": tensor.numpy(),
        "cases/channel": channel.int_repr().numpy(),
    }


def neighbours(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n,) -> (n, 25): each number with the 12 float32 numbers on either side, by size."""
    below, above = [x], [x]
    for _ in range(STEPS):
        below.append(np.nextafter(below[-1], np.float32(-np.inf)))
        above.append(np.nextafter(above[-1], np.float32(np.inf)))
    return np.stack([*below[:0:-1], *above], axis=1)
