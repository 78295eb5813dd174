"""activations.py: PyTorch's activations of a quantized tensor, every integer, wherever it lies; each step is needed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import drawing
import qlearn
from conformance import SIZES, SPLITS, assert_cases, assert_equal
from oracle import ask, compare, other_library, running
from qlearn import Machine, QTensor
from qlearn.codes import quantize, rounding
from qlearn.codes.affine import DTYPES
from qlearn.elementwise import activations, exponential, qnnpack_tables, sums_and_products
from qlearn.machine.machine import BODY, ENGINES, TAIL
from qlearn.machine.releases import ZERO_POINT_FIRST
from recorded import Source, each, two
from strategies import EXTREME, not_numbers

NAMES = ("relu6", "clamp", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "sigmoid", "tanh", "elu")
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "relu6": (),
    "clamp": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "hardswish": (0.1, 3),
    "hardsigmoid": (),
    "leaky_relu": (0.1, 0.1, 3),
    "sigmoid": (),
    "tanh": (),
    "elu": (0.1, 3, 0.1),
}
CODES = np.arange(256, dtype=np.uint8)
X = QTensor(CODES.reshape(4, 64), 0.05, 3, "quint8")
QNNPACK = Machine("qnnpack", "AVX2", 1)


def skip_other_library(name: str) -> None:
    """Their tails call the C library."""
    if name in ("tanh", "elu") and other_library():
        pytest.skip(other_library())


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_live(dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
    """Every layout, dtype, size, on one thread and more."""
    skip_other_library(name)
    draws: list[dict[str, Any]] = [
        {"n": int(rng.choice(np.array(SIZES))), "layout": layout, "dtype": dtype}
        for layout in drawing.LAYOUTS
        for dtype in ("quint8", "qint8", "qint32")
    ]
    draws += [{"n": int(rng.choice(np.array(SPLITS))), "threads": threads} for threads in (1, 2)]
    assert_equal(name, engine, dispatch, rng, draws)


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_scales(dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
    """Scales that overflow, or whose inverse does: infinities and NaN on every path."""
    skip_other_library(name)
    asked = []
    for dtype in ("quint8", "qint8", "qint32"):
        for scale in EXTREME:
            for zero_point in (0, 3, 100):
                operand = drawing.Operand(drawing.codes(rng, 100, dtype), (100,), (1,), scale, zero_point)
                args = tuple(float(rng.choice(EXTREME)) if a == 0.1 else a for a in ARGUMENTS[name])
                asked.append((name, drawing.Case((operand,), args)))
    assert_cases(engine, dispatch, asked)


# Recorded, and each step


def recorded(name: str, source: Source, i: int, path: str, engine: str = "fbgemm") -> tuple[Any, Any]:
    """qlearn's and PyTorch's codes of case i, in the body, in the tail, or on qnnpack."""
    r = source.arrays
    kind, scale, zero_point, *args = r[f"cases/{name}"][i].tolist()
    dtype = ("quint8", "qint8", "qint32")[int(kind)]
    codes = r["qint32"] if dtype == "qint32" else CODES.view(DTYPES[dtype])
    if len(args) > 1 and name != "clamp":
        where = 2 if name == "leaky_relu" else 1
        args[where] = int(args[where])
    short = codes.size if path == "body" else 15 if dtype == "qint32" else 63
    machine = source.machine(engine)
    parts = [QTensor(codes[k : k + short], scale, int(zero_point), dtype) for k in range(0, codes.size, short)]
    ours = [getattr(qlearn, name)(part, *args, machine=machine).int_repr() for part in parts]
    return np.concatenate(ours), r[f"qnnpack/{name}/{i}" if engine == "qnnpack" else f"{name}/{i}/{path}"]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"relu6", "hardtanh"}))
@each("activations")
def test_recorded(source: Source, name: str) -> None:
    for i in range(len(source.arrays[f"cases/{name}"])):
        for path in ("body", "tail"):
            compare(f"{name}, recorded", *recorded(name, source, i, path), f"{i} {path}")
        if f"qnnpack/{name}/{i}" in source.arrays:
            compare(f"{name}, recorded", *recorded(name, source, i, "body", "qnnpack"), f"{i} qnnpack")


def shows(name: str, source: Source, path: str, engine: str = "fbgemm", dtypes: Any = (0, 1, 2)) -> bool:
    """Whether a recorded case of some dtype differs."""
    cases = source.arrays[f"cases/{name}"][:, 0].tolist()
    of = [i for i, dtype in enumerate(cases) if dtype in dtypes]
    of = [i for i in of if engine == "fbgemm" or f"qnnpack/{name}/{i}" in source.arrays]
    return any((np.not_equal(*recorded(name, source, i, path, engine))).any() for i in of)


COMPUTING = ("hardswish", "hardsigmoid", "leaky_relu", "sigmoid", "tanh", "elu")
POWER_OF_TWO = ("hardsigmoid", "tanh")  # their result's scale: its product with a number is exact, fused or not


def wrong_steps() -> list[tuple[Source, str, str, Any, tuple[str, ...]]]:
    """Whose answers, path, which of both steps, a wrong form of it, and where it gives the same codes."""
    sub, fused = sums_and_products.dequantize_subtract, sums_and_products.dequantize_fused
    before, before_fused, after = quantize.add_first, rounding.fma_then_round, quantize.in_vectors
    found: list[tuple[Source, str, str, Any, tuple[str, ...]]] = []
    for source in two("activations", "avx2"):
        found += [(source, "body", "dequantize", sub, ("sigmoid",)), (source, "tail", "dequantize", fused, ())]
        found += [(source, "body", "quantize", wrong, ()) for wrong in (before, before_fused)]
        if first_in(source):
            found += [(source, "tail", "quantize", after, ()), (source, "tail", "quantize", before_fused, POWER_OF_TWO)]
        else:
            found += [(source, "tail", "quantize", wrong, ()) for wrong in (before, before_fused)]
    for source in two("activations", "default"):
        found += [(source, "body", "dequantize", fused, ())]
        if first_in(source):
            found += [(source, "body", "quantize", before, POWER_OF_TWO), (source, "body", "quantize", after, ())]
        else:
            found += [(source, "body", "quantize", wrong, ()) for wrong in (before, before_fused)]
    return found


def first_in(source: Source) -> bool:
    """Whether the release adds the zero point before it rounds."""
    return source.machine().has(ZERO_POINT_FIRST)


@pytest.mark.parametrize("name", COMPUTING)
@pytest.mark.parametrize(("source", "path", "step", "wrong", "same"), wrong_steps())
def test_steps_of_add_are_needed(
    name: str,
    source: Source,
    path: str,
    step: str,
    wrong: Any,
    same: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Recorded 8-bit answers tell other ways to dequantize and quantize from the right one, except in ``same``."""
    true = activations.steps

    def steps(dtype: str, machine: Machine, p: int) -> Any:
        dequantize, quantize = true(dtype, machine, p)
        if p != (BODY if path == "body" else TAIL):
            return dequantize, quantize
        return (wrong, quantize) if step == "dequantize" else (dequantize, wrong)

    monkeypatch.setattr(activations, "steps", steps)
    assert shows(name, source, path, dtypes=(0, 1)) == (name not in same)


f = np.float32


def relu6_of(x: Any) -> Any:
    """min(max(x, 0), 6)."""
    return np.minimum(np.maximum(x, f(0)), f(6))


WRONG: list[tuple[str, str, str, str, Any]] = [
    ("hardswish", "avx2", "body", "inverse_by_double", rounding.reciprocal),
    ("hardswish", "avx2", "body", "real_hardswish", lambda x: x * relu6_of(x + f(3)) * f(1 / 6)),
    ("hardswish", "avx2", "body", "real_hardswish", lambda x: x * (relu6_of(x + f(3)) / f(6))),
    ("hardswish", "avx2", "tail", "real_hardswish", lambda x: x * relu6_of(x + f(3)) * f(1 / 6)),
    ("hardswish", "avx2", "tail", "reciprocal", lambda s: activations.inverse_by_double(s)),
    ("hardsigmoid", "avx2", "body", "real_hardsigmoid", lambda x: relu6_of(x + f(3)) * f(1 / 6)),
    ("hardsigmoid", "avx2", "tail", "real_hardsigmoid", lambda x: relu6_of(x + f(3)) * f(1 / 6)),
    ("leaky_relu", "avx2", "body", "real_leaky_relu", lambda slope: lambda x: np.where(
        x > 0, x, (x.astype(np.float64) * round(float(slope), 4)).astype(f))),
    ("sigmoid", "avx2", "body", "inverse_by_double", rounding.reciprocal),
    ("sigmoid", "avx2", "body", "dequantize_float", sums_and_products.dequantize_fused),
    ("sigmoid", "avx2", "body", "sleef_expf", exponential.glibc_expf),
    ("sigmoid", "avx2", "body", "sigmoid_of_sleef", lambda x: activations.sigmoid_in_double(x)),
    ("sigmoid", "avx2", "tail", "sigmoid_in_double", lambda x: activations.sigmoid_of_glibc(x)),
    ("sigmoid", "avx2", "tail", "glibc_expf", exponential.sleef_expf),
    ("sigmoid", "default", "body", "sigmoid_of_glibc", lambda x: activations.sigmoid_in_double(x)),
    ("sigmoid", "default", "body", "glibc_expf", exponential.sleef_expf),
    ("tanh", "avx2", "body", "sleef_tanhf", exponential.glibc_tanhf),
    ("tanh", "avx2", "tail", "glibc_tanhf", exponential.sleef_tanhf),
    ("tanh", "default", "body", "glibc_tanhf", exponential.sleef_tanhf),
    ("elu", "avx2", "body", "sleef_expm1f", exponential.glibc_expm1f),
    ("elu", "avx2", "body", "sleef_expm1f", lambda x: exponential.sleef_expf(x) - f(1)),
    ("elu", "avx2", "tail", "glibc_expm1f", exponential.sleef_expm1f),
    ("elu", "default", "body", "glibc_expm1f", exponential.sleef_expm1f),
    ("elu", "avx2", "body", "reciprocal", lambda s: activations.inverse_by_double(s)),
]  # fmt: skip


OF_WRONG = [(source, name, *rest) for name, where, *rest in WRONG for source in two("activations", where)]


@pytest.mark.parametrize(("source", "name", "path", "step", "wrong"), OF_WRONG)
def test_step_is_needed(
    source: Source, name: str, path: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's recorded answers tell each wrong step from the right one."""
    monkeypatch.setattr(activations, step, wrong)
    assert shows(name, source, path)


def wrong_bounds(zero_point_first: bool) -> dict[str, tuple[str, Any]]:
    """A step of the bounds of clamp, and a wrong form of it."""

    def at_its_place(y: Any, z: Any) -> Any:
        return np.rint(y + z) if zero_point_first else np.rint(y) + z

    def divide(x: Any, inverse: Any, z: Any) -> Any:
        return at_its_place(x / (f(1) / inverse), f(z))

    def rounded(real: Any, x: QTensor, machine: Machine) -> Any:
        return np.uint8(np.clip(at_its_place(round(float(real), 4) / x.q_scale(), x.q_zero_point()), 0, 255))

    moved = quantize.in_vectors if zero_point_first else quantize.add_first
    return {
        "zero point moved": ("in_scalars", lambda machine: moved),
        "in one step": ("in_scalars", lambda machine: rounding.fma_then_round),
        "divide": ("in_scalars", lambda machine: divide),
        "rounded bounds": ("code_of", rounded),
    }


@pytest.mark.parametrize("source", two("activations", "avx2"), ids=str)
@pytest.mark.parametrize("form", ["zero point moved", "rounded bounds"])
def test_step_of_bounds_is_needed(source: Source, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of clamp, whose bounds are quantized as in a tail."""
    monkeypatch.setattr(activations, *wrong_bounds(first_in(source))[form])
    assert shows("clamp", source, "body")


BOUNDS = (  # scale, zero point, min and max: a tie at an odd zero point; where a product is a tie and a quotient is not
    (0.5, 3, (0.25, 60.0)),
    (0.00214854861, 0, (0.0, 0.273939937)),
    (0.1, 57, (-4.85, -4.45)),
    (0.0235, 3, (0.0, 6.0)),
)


def clamped(scale: float, zero_point: int, bounds: tuple[float, float]) -> Any:
    """PyTorch's codes of every code."""
    import torch

    x = torch._make_per_tensor_quantized_tensor(torch.arange(256, dtype=torch.uint8), scale, zero_point)
    return torch.ops.quantized.clamp(x, *bounds).int_repr().numpy()


@pytest.mark.torch
@pytest.mark.parametrize("form", ["", *wrong_bounds(False)])
def test_bounds(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that tell each wrong form from that of the running release."""
    machine, differ = running("x86", "AVX2"), 0
    if form:
        monkeypatch.setattr(activations, *wrong_bounds(machine.has(ZERO_POINT_FIRST))[form])
    for scale, zero_point, bounds in BOUNDS:
        theirs = ask("AVX2", clamped, scale, zero_point, bounds, elementwise=True)
        ours = qlearn.clamp(QTensor(CODES, scale, zero_point, "quint8"), *bounds, machine=machine)
        differ += int((ours.int_repr() != theirs).sum())
    assert (differ > 0) == bool(form)


WRONG_TABLES: list[tuple[str, str, Any]] = [
    ("hardswish", "round_half_even", lambda x: np.floor(x + f(0.5))),
    ("hardswish", "shifted", lambda function, s, z: lambda x: function(x) / f(s) + f(z)),
    ("hardswish", "shifted", lambda function, s, z: lambda x: np.rint(function(x) * rounding.reciprocal(s)) + f(z)),
    ("hardsigmoid", "round_half_even", np.floor),
    ("sigmoid", "sigmoid", lambda x: activations.sigmoid_in_double(x) * f(256)),
    ("tanh", "tanh", lambda x: (128 * np.tanh(x.astype(float)) + 128).astype(f)),
    ("tanh", "glibc_tanhf", exponential.sleef_tanhf),
    ("sigmoid", "glibc_expf", exponential.sleef_expf),
    ("tanh", "round_half_even", np.floor),
]


@pytest.mark.parametrize("source", two("activations", "avx2"), ids=str)
@pytest.mark.parametrize(("name", "step", "wrong"), WRONG_TABLES)
def test_step_of_qnnpack_is_needed(
    source: Source, name: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of the tables of the engine qnnpack."""
    monkeypatch.setattr(qnnpack_tables, step, wrong)
    assert shows(name, source, "body", "qnnpack", dtypes=(0,))


@pytest.mark.parametrize("source", two("activations", "avx2"), ids=str)
@pytest.mark.parametrize("name", ["hardswish", "elu", "leaky_relu", "sigmoid"])
def test_equal_codes_at_two_places(source: Source, name: str) -> None:
    """PyTorch gives one code two results, in the body and in the tail, as recorded."""
    r = source.arrays
    assert any((r[f"{name}/{i}/body"] != r[f"{name}/{i}/tail"]).any() for i in range(2))


def test_clamp_of_qnnpack_in_channels_last() -> None:
    """It writes the elements in the order of their memory to a contiguous tensor: they change their places."""
    codes = np.moveaxis(np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3), -1, 1)  # channels_last
    out = qlearn.clamp(QTensor(codes, 1.0, 0, "quint8"), 0.0, 100.0, machine=QNNPACK)
    assert out.int_repr().ravel().tolist() == list(range(24)) and out.strides == (24, 8, 4, 1)
    kept = qlearn.clamp(QTensor(codes, 1.0, 0, "quint8"), 0.0, 100.0)
    assert np.array_equal(kept.int_repr(), codes) and kept.strides == (24, 1, 12, 3)


# Bad input is refused, by name


def test_input_that_does_not_fit() -> None:
    channels = QTensor(np.zeros((2, 3), np.uint8), [0.5] * 3, [0] * 3, "quint8", 1)
    for name, args in ARGUMENTS.items():
        call = getattr(qlearn, name)
        with pytest.raises(TypeError, match="x must be a QTensor, got list"):
            call([1], *args)
        with pytest.raises(ValueError, match="x must be quantized per tensor, got per_channel_affine"):
            call(channels, *args)
        with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
            call(X, *args, machine="x86")


def test_result_that_does_not_fit() -> None:
    for name in ("hardswish", "leaky_relu"):
        first = (0.1,) if name == "leaky_relu" else ()
        call = getattr(qlearn, name)
        for scale in (0.0, -1.0, np.nan, np.inf, 1e39, 1e-46):
            with pytest.raises(ValueError, match="scale must be positive and finite as float32"):
                call(X, *first, scale, 3)
        for zero_point in (-1, 256):
            with pytest.raises(ValueError, match=r"zero_point must be in \[0, 255\] for quint8"):
                call(X, *first, 0.1, zero_point)
    with pytest.raises(ValueError, match=r"scale and zero_point must both be given or both be None, got 0.1 and None"):
        qlearn.leaky_relu(X, 0.1, 0.1)


@given(not_numbers)
def test_numbers_that_are_none(number: Any) -> None:
    if number is not None:
        with pytest.raises(TypeError, match="min must be a real number"):
            qlearn.clamp(X, number, 1.0)
        with pytest.raises(TypeError, match="max must be a real number"):
            qlearn.clamp(X, 1.0, number)
    with pytest.raises(TypeError, match="negative_slope must be a real number"):
        qlearn.leaky_relu(X, number)


def test_bounds_and_slopes_out_of_reach() -> None:
    for number in (np.nan, 1e39, -1e39):
        with pytest.raises(ValueError, match="min must be a number within float32"):
            qlearn.clamp(X, number, 1.0)
    for number in (np.nan, 1e39, np.inf):
        with pytest.raises(ValueError, match="negative_slope must be"):
            qlearn.leaky_relu(X, number)
    with pytest.raises(ValueError, match=r"min_val must not be larger than max_val, got 2.0 and 1.0"):
        qlearn.hardtanh(X, 2.0)
    with pytest.raises(ValueError, match="min and max must not both be None"):
        qlearn.clamp(X)


def test_what_qnnpack_refuses() -> None:
    with pytest.raises(ValueError, match=r"min and max must both be given on qnnpack, got 0.0 and None"):
        qlearn.clamp(X, 0.0, machine=QNNPACK)
    with pytest.raises(ValueError, match="min must not have a larger code than max on qnnpack, got codes 43 and 3"):
        qlearn.clamp(X, 2.0, 0.0, machine=QNNPACK)
    for shape in ((), (3, 0)):
        empty = QTensor(np.zeros(shape, np.uint8), 0.5, 3, "quint8")
        for name in ("relu6", "clamp", "hardtanh", "hardswish", "hardsigmoid"):
            with pytest.raises(ValueError, match=r"x must (not be empty|have dimensions)"):
                getattr(qlearn, name)(empty, *ARGUMENTS[name], machine=QNNPACK)
    tiny = QTensor(CODES, 1e-40, 3, "quint8")
    with pytest.raises(ValueError, match=r"the scale of x must be at least 1\.17\d*e-38 as float32 on qnnpack"):
        qlearn.hardsigmoid(tiny, machine=QNNPACK)
    with pytest.raises(ValueError, match=r"scale must be at least 1\.17\d*e-38 as float32 on qnnpack, got 1e-40"):
        qlearn.hardswish(X, 1e-40, 3, machine=QNNPACK)
