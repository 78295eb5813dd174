"""Chapter 10: images made larger by tenths, where weighed codes give ties, and rows whose nearest pixel is in doubt."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = False
LAYOUTS = ("contiguous", "channels_last")
SCALE, ZERO_POINT = 0.1, 5
BILINEAR: tuple[tuple[str, tuple[int, int], bool], ...] = (  # codes, size, align_corners
    ("eight", (5, 120), False),
    ("eight", (3, 111), True),
    ("wide", (5, 7), False),
    ("wide", (7, 5), True),
)
NEAREST: tuple[tuple[str, int, int | None, float | None], ...] = (  # mode, length, size, factor
    ("nearest", 21, 69, None),
    ("nearest", 14, 46, None),
    ("nearest", 52, None, 2.3),
    ("nearest", 32, None, 1.45),
    ("nearest-exact", 2, 41, None),
    ("nearest-exact", 4, 55, None),
    ("nearest-exact", 52, None, 2.3),
)
KEYS = {
    "eight": "uint8 (1, 14, 2, 12): codes; scale 0.1, zero point 5",
    "wide": "int32 (1, 9, 3, 4): codes of a qint32 tensor, which float32 does not hold; scale 0.1, zero point 5",
    "bilinear/<layout>": "int32 (n,): the codes of each image in the recorder's BILINEAR, one after the other",
    "nearest/<layout>": "int32 (n,): for each of NEAREST the indices of the pixels of a row that were taken",
}

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    rng = np.random.default_rng(13)
    found: Arrays = {
        "eight": rng.integers(0, 256, (1, 14, 2, 12), dtype=np.uint8),
        "wide": rng.integers(-(2**27), 2**27, (1, 9, 3, 4), dtype=np.int32),
    }
    interpolate = torch.nn.functional.interpolate
    for layout in LAYOUTS:
        last = torch.channels_last if layout == "channels_last" else torch.contiguous_format

        def tensor(codes: Any, last: Any = last) -> Any:
            t = torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), SCALE, ZERO_POINT)
            return t.contiguous(memory_format=last)

        images = [
            interpolate(tensor(found[name]), size, mode="bilinear", align_corners=align)
            for name, size, align in BILINEAR
        ]
        rows = [
            interpolate(tensor(row(length)), size and (2, size), factor and (1.0, factor), mode)[0, 0, 0]
            for mode, length, size, factor in NEAREST
        ]
        for name, outs in (("bilinear", images), ("nearest", rows)):
            found[f"{name}/{layout}"] = np.concatenate([out.int_repr().numpy().ravel() for out in outs]).astype(
                np.int32
            )
    return found


def row(length: int) -> npt.NDArray[np.uint8]:
    """(1, 2, 2, length): each pixel's code is its index along the row."""
    return np.broadcast_to(np.arange(length, dtype=np.uint8), (1, 2, 2, length)).copy()
