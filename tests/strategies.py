"""Inputs on which a wrong step shows: ties and their neighbours, clamp edges, extreme scales, layouts, sizes."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from drawn_layers import arranged

__all__ = ["arranged"]

INTEGERS = {"quint8": np.uint8, "qint8": np.int8, "qint32": np.int32}
TIE_RICH = (0.05, 0.1, 0.037, 0.0185, 0.074, 0.5, 1.0, 0.00214854861, 0.009925744496285915, 0.02780967578291893)
EXTREME = (1e-45, 1e-40, 2.0**-126, 1e-30, 1e30, 3e38)  # 1 / scale overflows for the first two
SIZES = (1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 1023, 32767, 32768, 32769, 32832, 65573, 98305)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3e38, -3e38, 2**31, 2**31 - 128, -(2**31)], np.float32)


def hard_reals(rng: np.random.Generator, n: int, scale: float, zero_point: int, dtype: str) -> Any:
    """n float32 numbers: most within a few steps of a tie, of a code, or of a clamp edge; some of any magnitude."""
    info = np.iinfo(INTEGERS[dtype])
    reach = 2 * (min(info.max, 1 << int(rng.integers(8, 32))) - zero_point)
    codes = rng.integers(min(reach, -300), max(reach, 300), n) if dtype == "qint32" else rng.integers(-600, 600, n)
    with np.errstate(over="ignore"):
        x = ((codes + rng.choice([0, 0.5, 0.5, 0.5, rng.random()], n)) * scale).astype(np.float32)
    x = (x.view(np.int32) + rng.integers(-3, 4, n, dtype=np.int32)).view(np.float32)  # a few float32 steps away
    any_bits = rng.integers(0, 2**32, n, dtype=np.uint32).view(np.float32)
    x = np.where(rng.random(n) < 0.05, any_bits, x)
    return np.where(rng.random(n) < 0.02, rng.choice(SPECIAL, n), x)


def zero_points(rng: np.random.Generator, dtype: str, n: int | None = None) -> Any:
    """Zero points within dtype: the edges, 0, odd and even ones; one int, or n as int64."""
    info = np.iinfo(INTEGERS[dtype])
    drawn = rng.integers(info.min, info.max + 1, n or 1)
    drawn = np.where(rng.random(n or 1) < 0.5, rng.choice([info.min, info.max, 0, 1, 3, 75], n or 1), drawn)
    return drawn if n else int(drawn[0])


def random_codes(rng: np.random.Generator, shape: Any, dtype: str) -> Any:
    """Codes over the whole range of dtype."""
    info = np.iinfo(INTEGERS[dtype])
    return rng.integers(info.min, info.max + 1, shape).astype(INTEGERS[dtype])


dtypes = st.sampled_from(sorted(INTEGERS))
bad_scales = st.one_of(
    st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-46, 1e39]), st.floats(max_value=-1e-300, allow_nan=False)
)
not_numbers = st.one_of(st.text(), st.none(), st.just(1j), st.binary(), st.just(True))
not_integers = st.one_of(st.floats(), st.text(), st.none(), st.just(True))


@st.composite
def outside(draw: Any, dtype: str) -> int:
    """An integer that dtype does not hold."""
    info = np.iinfo(INTEGERS[dtype])
    return draw(st.one_of(st.integers(max_value=info.min - 1), st.integers(min_value=info.max + 1)))
