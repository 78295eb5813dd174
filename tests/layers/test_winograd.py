"""winograd.py: its sums are exact wherever it says that they are, and its proof is needed."""

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from test_windows import check, expected_sums

from qlearn.layers import window_sums, windows, winograd

GEOMETRIES = [  # images, channels, outputs, lengths, padding
    *((1, 32, 33, (12, 13), 1), (2, 64, 40, (11, 10), 0), (2, 128, 32, (9, 17), 2)),
    *((3, 40, 32, (14, 14), 3), (1, 32, 32, (30, 29), (0, 2)), (1, 300, 32, (12, 12), 1)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("piece", [1, 10**5])
def test_exact(geometry: Any, piece: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operands over their range and at its ends, any padding, any zero points; small weights are always in tiles."""
    n, channels, outputs, lengths, padding = geometry
    calls = []
    right = winograd.sums_over_tiles
    monkeypatch.setattr(window_sums, "sums_over_tiles", lambda *args: calls.append(args) or right(*args))
    monkeypatch.setattr(winograd, "PIECE", piece)
    for most, zero_points in ((20, (0, 0)), (20, (128, rng.integers(-3, 4, outputs))), (128, (255, 0))):
        w = np.clip(rng.integers(-most, most, (outputs, channels, 3, 3)), -128, 127)
        for x in (rng.integers(0, 256, (n, channels, *lengths)), rng.choice([0, 255], (n, channels, *lengths))):
            check(x, w, zero_points, 1, padding, 1, 1, layout=str(rng.choice(["contiguous", "channels_last"])))
    assert len(calls) >= 4


# The proof

BOUNDS = {  # a part of the proof, and what is wrong with it
    "512 * np.abs(both)": "128 * np.abs(both)",
    " + 4 * np.abs(rest)": "",
    "256 * np.abs(rows)": "64 * np.abs(rows)",
    "128 * np.abs(w)": "32 * np.abs(w)",
    "> 2**24": "> 2**25",
}
Case = tuple[Any, Any, int]  # x, w, x_zero_point


def cases() -> list[Case]:
    """Layers that float32 gets wrong by one or two, most of them by little: numbers that are odd, all of one sign."""
    rng = np.random.default_rng(0)
    found: list[Case] = []
    signs = np.outer([1, -1, 1], [1, -1, 1])
    for channels in (28, 32, 57, 64, 112, 128):
        w = rng.choice([125, 127], (32, channels, 3, 3))
        ends, board = rng.choice([0, 1, 254, 255], (1, channels, 12, 12)), np.indices((12, 12)).sum(0) % 2 * 255
        found += [(ends, w, 0), (ends, w, 255), (np.where(ends > 9, ends, 255 - ends), w, 128)]
        found += [(np.broadcast_to(board, ends.shape), w * signs, 128)]
    patterns = [
        (1, 1, 1),
        (1, -1, 1),
        (1, 0, -1),
        (1, 0, -1),
    ]  # each row of G gives 1 on average
    along = np.array([np.outer(p, (1, 1, 1)) for p in patterns * 28])  # (112, 3, 3)
    both = np.array([np.outer(p, q) for p in patterns for q in patterns] * 12)  # (192, 3, 3)
    for signs, factor in ((along, 97), (both, 127)):
        w = np.broadcast_to(signs * factor, (32, *signs.shape))
        x = np.zeros((2, len(signs), 12, 12), int)
        x[:, :, :3, :3] = np.where(signs < 0, 255, 0)  # the largest sum in the first window
        x[:, ::2, :3, :3] ^= 1
        x[0, 0, :3, :2] ^= 1
        x[1, 0, 0, 0] ^= 1  # odd sums, of the rows or of all
        found.append((x, w, 128))
    return found


def sums(module: Any, x: Any, w: Any, x_zero_point: int) -> Any:
    """The sums, or None where they are not proved exact."""
    tiles = module.prepare(w, x_zero_point)
    centered = (np.moveaxis(x, 1, -1) - module.MIDDLE).astype(np.int16)
    if tiles is None:
        return None
    high, wide = x.shape[2] - 2, x.shape[3] - 2
    found = np.empty((len(x), high, wide, len(w)), np.float32)
    for piece, of_piece in module.sums_over_tiles(centered, tiles, (high, wide)):
        found[piece] = of_piece
    return found


def wrong(module: Any) -> int:
    """Layers that are proved exact, and are not."""
    found = 0
    for x, w, zero_point in cases():
        ours = sums(module, x, w, zero_point)
        g = windows.geometry(2, x.shape, w.shape, 1, 0, 1, 1)
        found += ours is not None and not np.array_equal(ours, expected_sums(x, w, zero_point, 0, g))
    return found


def mutated(changes: dict[str, str]) -> ModuleType:
    source = inspect.getsource(winograd)
    for right, other in changes.items():
        assert source.count(right) == 1, right
        source = source.replace(right, other)
    module = ModuleType("mutated")
    exec(source, module.__dict__)
    return module


def test_what_is_proved_is_exact() -> None:
    assert wrong(winograd) == 0
    assert wrong(mutated({"> 2**24": "> 2**60"})) > 10


@pytest.mark.parametrize("right", BOUNDS)
def test_another_bound_shows(right: str) -> None:
    assert wrong(mutated({right: BOUNDS[right]})) > 0
