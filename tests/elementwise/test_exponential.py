"""exponential.py: Sleef's and the C library's exp, exp - 1 and tanh, every bit; each step is needed."""

from typing import Any

import numpy as np
import pytest

from oracle import ask, compare, other_library
from qlearn.codes.rounding import add_then_round, saturate
from qlearn.elementwise import exponential
from qlearn.machine.releases import BOOK
from recorded import Source, each, two
from recorders import activations as recorder

AVX2 = next(source for source in two("activations", "avx2") if source.machine().release == BOOK)
f = np.float32
SCALE = 2.0**-20  # of the qint32 tensors
CODES = {"body": 1 << 16, "tail": 1 << 12}  # how many, to draw


def hard_reals(rng: np.random.Generator, n: int) -> Any:
    """The recorder's edges and their neighbours; of the rest a half in [-2, 2], others to 110, and any bits."""
    edges = recorder.reals(rng)
    spread = rng.choice(np.array([1e-3, 0.4, 2, 2, 9, 20, 110]), n) * rng.uniform(-1, 1, n)
    bits = rng.integers(0, 2**32, n // 8, dtype=np.uint32).view(np.float32)
    x = np.concatenate([edges, spread.astype(np.float32), bits])
    return x[: x.size // 64 * 64]


@pytest.mark.torch
def test_live(capability: str, rng: np.random.Generator) -> None:
    """exp and exp - 1 of float32 tensors, in vectors and by the C library."""
    x = hard_reals(rng, 200_000)
    theirs = ask(capability, exponentials, x)
    names = {"exp_of_library": exponential.glibc_expf, "exp": exponential.sleef_expf, "expm1": exponential.sleef_expm1f}
    if capability == "DEFAULT":
        names |= {"exp": exponential.glibc_expf, "expm1": exponential.glibc_expm1f}
    for name, function in names.items():
        if function is not exponential.glibc_expm1f or not other_library():
            compare(function.__name__, function(most(x) if name == "exp_of_library" else x), theirs[name], name)
    if other_library():
        pytest.skip(f"expm1f is not compared: {other_library()}")
    compare("glibc_expm1f", exponential.glibc_expm1f(-np.abs(x)), theirs["expm1_of_library"], "expm1_of_library")


def exponentials(x: Any) -> Any:
    """The recorder's, in PyTorch's process."""
    import torch

    return recorder.exponentials(torch, x)


@pytest.mark.torch
@pytest.mark.parametrize("path", ["body", "tail"])
def test_live_tanh(dispatch: str, path: str, rng: np.random.Generator) -> None:
    """tanh of qint32 tensors, whose result keeps 31 bits: of all magnitudes, in the body and in the tail."""
    vectors = path == "body" and dispatch != "DEFAULT"
    if not vectors and other_library():
        pytest.skip(other_library())
    codes = rng.integers(-(2**24), 2**24, CODES[path]) >> rng.integers(0, 24, CODES[path])
    theirs = ask(dispatch, tanh, codes.astype(np.int32), path, elementwise=True)
    compare("tanh, qint32", quantized_tanh(codes, vectors), theirs)


def tanh(codes: Any, path: str) -> Any:
    """PyTorch's codes, of scale 2**-31."""
    import torch

    flat = torch.from_numpy(codes if path == "body" else np.repeat(codes, 2))
    x = torch._make_per_tensor_quantized_tensor(flat, SCALE, 0)
    return torch.tanh(x if path == "body" else x[::2]).int_repr().numpy()


def quantized_tanh(codes: Any, vectors: bool) -> Any:
    """The same by qlearn's functions."""
    function = exponential.sleef_tanhf if vectors else exponential.glibc_tanhf
    return saturate(add_then_round(function((codes * SCALE).astype(f)) * f(2.0**31), 0), np.int32)


# Recorded, and each step


def recorded(name: str, source: Source) -> tuple[Any, Any]:
    """qlearn's and PyTorch's numbers; those of tanh as qint32 codes. DEFAULT's vectors call the C library too."""
    r, in_vectors = source.arrays, name.startswith("sleef")
    if source.kind == "default":
        name = name.replace("sleef", "glibc")
    if name in ("sleef_tanhf", "glibc_tanhf"):
        i = len(r["cases/tanh"]) - 1
        return quantized_tanh(r["qint32"], name == "sleef_tanhf"), r[f"tanh/{i}/{'body' if in_vectors else 'tail'}"]
    x, key = r["reals"], "exp" if name.endswith("expf") else "expm1"
    if not in_vectors:
        x, key = most(x) if key == "exp" else -np.abs(x), f"{key}_of_library"
    return getattr(exponential, name)(x), r[key]


def most(x: Any) -> Any:
    """min(x, 88), as the recorder asks for exp_of_library."""
    return np.minimum(x, f(88))


@pytest.mark.parametrize("name", exponential.__all__)
@each("activations")
def test_recorded(source: Source, name: str) -> None:
    compare(f"{name}, recorded", *recorded(name, source))


def fma_in_two(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded twice."""
    return np.asarray(a, f) * np.asarray(b, f) + np.asarray(c, f)


def without_low(function: Any) -> Any:
    """A step on pairs that forgets what its rounding left."""

    def step(*args: Any) -> Any:
        high, low = function(*args)
        return high, np.zeros_like(low)

    return step


def without(constants: Any, i: int) -> Any:
    """The constants, one of them 0."""
    return tuple(c * c.dtype.type(k != i) for k, c in enumerate(map(np.asarray, constants)))


E = exponential
WRONG: list[tuple[str, str, Any]] = [
    *[(name, "fma", fma_in_two) for name in ("sleef_expf", "sleef_expm1f", "sleef_tanhf")],
    *[(name, "LN2_LOW", f(0)) for name in ("sleef_expf", "sleef_expm1f", "sleef_tanhf")],
    *[(name, "LN2_HIGH", f(0.6931)) for name in ("sleef_expf", "sleef_expm1f", "sleef_tanhf")],
    *[(name, "LOG2_E", f(1.43)) for name in ("sleef_expf", "sleef_expm1f", "sleef_tanhf")],
    *[("sleef_expf", "EXP", without(E.EXP, i)) for i in range(len(E.EXP))],
    *[(n, "EXP_OF_PAIR", without(E.EXP_OF_PAIR, i)) for n in ("sleef_expm1f", "sleef_tanhf") for i in range(4)],
    *[(name, "SIXTH", f(0.16666667)) for name in ("sleef_expm1f", "sleef_tanhf")],
    *[
        (name, step, without_low(getattr(E, step)))
        for name in ("sleef_expm1f", "sleef_tanhf")
        for step in ("_plus", "_plus_pair", "_one_plus", "_product", "_square")
    ],
    *[("sleef_tanhf", step, without_low(getattr(E, step))) for step in ("_plus_smaller", "_inverse", "_quotient")],
    ("sleef_tanhf", "_plus_smaller", without_low(E._plus)),
    ("glibc_expf", "_fused_remainder", lambda x, k: E.STEPS_PER_E * x - k),
    *[("glibc_expf", "EXP2", without(E.EXP2, i)) for i in range(len(E.EXP2))],
    ("glibc_expf", "POWERS", E.POWERS.astype(f)),
    *[("glibc_expm1f", "EXPM1", without(E.EXPM1, i)) for i in range(len(E.EXPM1))],
    *[(name, "REDUCED", (f(np.log(2)), f(0))) for name in ("glibc_expm1f", "glibc_tanhf")],
    *[(name, "HALF_LN2", f(0.3)) for name in ("glibc_expm1f", "glibc_tanhf")],
    *[(name, "THREE_HALVES_LN2", f(1.2)) for name in ("glibc_expm1f", "glibc_tanhf")],
    *[(name, "LOG2_E_SHORT", f(1.43)) for name in ("glibc_expm1f", "glibc_tanhf")],
    ("glibc_tanhf", "glibc_expm1f", E.sleef_expm1f),
]  # fmt: skip


@pytest.mark.parametrize(("name", "step", "wrong"), WRONG)
def test_step_is_needed(name: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded numbers tell each wrong step from the right one."""
    monkeypatch.setattr(exponential, step, wrong)
    ours, theirs = recorded(name, AVX2)
    assert ((ours != theirs) & ~((ours != ours) & (theirs != theirs))).any()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sleef_expf", E.glibc_expf),
        ("sleef_expm1f", E.glibc_expm1f),
        ("sleef_expm1f", lambda x: E.sleef_expf(x) - f(1)),
        ("glibc_expf", E.sleef_expf),
        ("glibc_expf", lambda x: np.exp(np.asarray(x, np.float64)).astype(f)),
        ("glibc_expm1f", E.sleef_expm1f),
        ("sleef_tanhf", E.glibc_tanhf),
        ("glibc_tanhf", lambda x: np.tanh(np.asarray(x, np.float64)).astype(f)),
        ("glibc_tanhf", lambda x: f(1) - f(2) / (E.glibc_expm1f(f(2) * x) + f(2))),
    ],
)
def test_another_function_shows(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded numbers tell the libraries apart, and each from a rounded float64 function."""
    monkeypatch.setattr(exponential, name, wrong)
    with np.errstate(all="ignore"):
        ours, theirs = recorded(name, AVX2)
    assert ((ours != theirs) & ~((ours != ours) & (theirs != theirs))).any()


def test_special_values() -> None:
    """Infinities, NaN, both zeros and the ends of the range; shapes are kept."""
    x = np.array([[np.inf, -np.inf], [0.0, -0.0], [1e3, -1e3], [np.nan, 1e-45]], f)
    for exp in (E.sleef_expf, E.glibc_expf):
        assert np.array_equal(exp(x), np.array([[np.inf, 0], [1, 1], [np.inf, 0], [np.nan, 1]], f), equal_nan=True)
    for expm1 in (E.sleef_expm1f, E.glibc_expm1f):
        found = expm1(x)
        assert np.array_equal(found, np.array([[np.inf, -1], [0, 0], [np.inf, -1], [np.nan, 1e-45]], f), equal_nan=True)
        assert np.signbit(found[1]).tolist() == [False, True]
    for tanhf in (E.sleef_tanhf, E.glibc_tanhf):
        found = tanhf(x)
        assert np.array_equal(found, np.array([[1, -1], [0, 0], [1, -1], [np.nan, 1e-45]], f), equal_nan=True)
        assert np.signbit(found[1]).tolist() == [False, True]
