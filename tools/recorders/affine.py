"""Chapter 1: quantize a sweep of real numbers, dequantize all 256 codes, per tensor and per channel."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = True
KEYS = {
    "presets": "float64 (6, 3): scale, zero point, dtype (0 quint8, 1 qint8)",
    "sweep/<i>/x": "float32 (4001,): real numbers from 40 codes below the range of preset i to 40 above",
    "sweep/<i>/q": "integers (4001,): torch.quantize_per_tensor(x, scale, zero_point, dtype).int_repr()",
    "codes/<i>/q": "integers (256,): every code of preset i's dtype",
    "codes/<i>/x": "float32 (256,): their real numbers, .dequantize()",
    "channels/x": "float32 (3, 2001): real numbers from -10 to 10",
    "channels/scales": "float64 (3,)",
    "channels/zero_points": "int64 (3,)",
    "channels/q": "uint8 (3, 2001): torch.quantize_per_channel(x, scales, zero_points, axis=0, quint8).int_repr()",
    "channels/real": "float32 (3, 2001): their real numbers, .dequantize()",
    "special/x": "float32 (9,): NaN, infinities and numbers beyond int32",
    "special/<dtype>/tensor": "integers (9,): special/x by quantize_per_tensor, scale 1, zero point 3",
    "special/<dtype>/channel": "integers (9,): the same by quantize_per_channel",
    "grid/scales": "float64 (9,): scales of the widget",
    "grid/zero_points": "int64 (7,): zero points of the widget, quint8",
    "grid/thresholds": "float32 (9, 7, 255): the smallest x with torch.quantize_per_tensor(x, ...) >= 1, 2, ... 255",
}
PRESETS = (
    (0.05, 128, "quint8"),
    (0.1, 0, "quint8"),
    (0.009925744496285915, 75, "quint8"),
    (0.03012925386428833, 56, "quint8"),
    (0.0625, 0, "qint8"),
    (0.037, -30, "qint8"),
)
GRID_SCALES = (0.002, 1 / 255, 2**-7, 0.01, 0.02, 0.03, 0.1, 0.25, 1.0)
GRID_ZERO_POINTS = (0, 1, 64, 75, 128, 200, 255)
SPECIAL = (np.nan, np.inf, -np.inf, 3e38, -3e38, 2147483520.0, 2147483648.0, -2147483648.0, -2147483904.0)


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    names = ("quint8", "qint8")
    found: dict[str, npt.NDArray[Any]] = {"presets": np.array([(s, z, names.index(d)) for s, z, d in PRESETS])}
    for i, (scale, zero_point, name) in enumerate(PRESETS):
        dtype = getattr(torch, name)
        codes = np.arange(256, dtype=np.uint8).view(np.uint8 if name == "quint8" else np.int8)
        codes.sort()
        low, high = (scale * (int(code) - zero_point + extra) for code, extra in ((codes[0], -40), (codes[-1], 40)))
        x = np.linspace(low, high, 4001, dtype=np.float32)
        found[f"sweep/{i}/x"] = x
        found[f"sweep/{i}/q"] = (
            torch.quantize_per_tensor(torch.from_numpy(x), scale, zero_point, dtype).int_repr().numpy()
        )
        found[f"codes/{i}/q"] = codes
        found[f"codes/{i}/x"] = (
            torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), scale, zero_point).dequantize().numpy()
        )
    found |= _channels(torch) | _grid(torch)
    special = np.array(SPECIAL, np.float32)
    found["special/x"] = special
    one, three = torch.tensor([1.0]), torch.tensor([3])
    for name in ("quint8", "qint8", "qint32"):
        dtype, x = getattr(torch, name), torch.from_numpy(special)
        found[f"special/{name}/tensor"] = torch.quantize_per_tensor(x, 1.0, 3, dtype).int_repr().numpy()
        found[f"special/{name}/channel"] = (
            torch.quantize_per_channel(x[None], one, three, 0, dtype).int_repr().numpy()[0]
        )
    return found


def _channels(torch: Any) -> dict[str, npt.NDArray[Any]]:
    x = np.stack([np.linspace(-10, 10, 2001, dtype=np.float32)] * 3)
    scales, zero_points = np.array([0.05, 0.1, 0.037]), np.array([128, 3, 90])
    q = torch.quantize_per_channel(
        torch.from_numpy(x), torch.from_numpy(scales), torch.from_numpy(zero_points), 0, torch.quint8
    )
    return {
        "channels/x": x,
        "channels/scales": scales,
        "channels/zero_points": zero_points,
        "channels/q": q.int_repr().numpy(),
        "channels/real": q.dequantize().numpy(),
    }


def _grid(torch: Any) -> dict[str, npt.NDArray[Any]]:
    scales, zero_points = np.array(GRID_SCALES), np.array(GRID_ZERO_POINTS)
    thresholds = [[_thresholds(torch, s, z) for z in GRID_ZERO_POINTS] for s in GRID_SCALES]
    return {"grid/scales": scales, "grid/zero_points": zero_points, "grid/thresholds": np.array(thresholds)}


def _thresholds(torch: Any, scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """The smallest float32 that becomes code 1, 2, ... 255 or more, by bisection over the float32 numbers in order."""
    codes = np.arange(1, 256)
    below, reached = (_ordinal(((codes - zero_point + offset) * scale).astype(np.float32)) for offset in (-2, 1))
    while np.any(reached - below > 1):
        middle = (below + reached) // 2
        x = torch.from_numpy(_float32(middle))
        up = torch.quantize_per_tensor(x, scale, zero_point, torch.quint8).int_repr().numpy() >= codes
        below, reached = np.where(up, below, middle), np.where(up, middle, reached)
    return _float32(reached)


def _ordinal(x: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Number the float32 numbers in their order: neighbors differ by one, 0.0 is 0."""
    bits = x.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _float32(ordinal: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The float32 number with that place in the order."""
    return np.where(ordinal < 0, -ordinal | 0x80000000, ordinal).astype(np.uint32).view(np.float32)
