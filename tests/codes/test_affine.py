"""affine.py: PyTorch's integers and real numbers, every one; bad input is refused by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import qlearn
from oracle import ask, compare, running
from qlearn import QTensor
from qlearn.codes import affine, rounding
from qlearn.machine.releases import ZERO_POINT_FIRST
from recorded import Source, each, two
from strategies import (
    EXTREME,
    INTEGERS,
    SIZES,
    TIE_RICH,
    arranged,
    bad_scales,
    dtypes,
    hard_reals,
    not_integers,
    not_numbers,
    outside,
    random_codes,
    zero_points,
)

SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0,), (1,), (3, 0), (9,), (2, 3, 4), (2, 3, 4, 5), (2, 8, 3, 3), (1, 3, 1, 1), (4, 1, 1, 1), (3, 1, 5, 5),
    (2, 16, 7, 1), (2, 3, 2, 2, 2), (0, 3, 2, 2),
)  # fmt: skip


NEEDS = {"contiguous": 0, "channels_last": 4, "transposed": 2, "sliced": 1, "channels_last_sliced": 4}  # dimensions
HERE = running("fbgemm", "AVX2")  # of which the release counts
ARRANGEMENTS = [(shape, layout) for layout, ndim in NEEDS.items() for shape in SHAPES if len(shape) >= ndim]


# Equal to PyTorch


@pytest.mark.torch
@pytest.mark.parametrize("dtype", INTEGERS)
def test_per_tensor_equals_pytorch(dispatch: str, dtype: str, rng: np.random.Generator) -> None:
    """Sizes around every block and thread chunk, tie-rich and extreme scales, one thread and two."""
    for i, n in enumerate((*SIZES, *[100_000] * 8)):
        scale = float(rng.choice([*TIE_RICH, *EXTREME, rng.uniform(1e-3, 1), rng.uniform(1e-3, 1)]))
        zero_point = zero_points(rng, dtype)
        x = hard_reals(rng, n, scale, zero_point, dtype)
        question = (oracle.quantize_per_tensor, x, scale, zero_point, dtype)
        codes, real, *_ = ask(dispatch, *question, threads=1 + i % 2, elementwise=True)
        ours = qlearn.quantize_per_tensor(x, scale, zero_point, dtype, machine=HERE)
        what = (dispatch, dtype, scale, zero_point, n)
        compare("quantize_per_tensor", ours.int_repr(), codes, what)
        compare("dequantize, per tensor", ours.dequantize(), real, what)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", INTEGERS)
def test_per_channel_equals_pytorch(capability: str, dtype: str, rng: np.random.Generator) -> None:
    for i, n in enumerate((*SIZES[:15], *[40_000] * 4)):
        scales = rng.choice([*TIE_RICH, *EXTREME, rng.uniform(1e-3, 1)], 4)
        zeros = zero_points(rng, dtype, 4)
        x = np.stack([hard_reals(rng, n, s, z, dtype) for s, z in zip(scales, zeros.tolist(), strict=True)])
        codes, real, *_ = ask(capability, oracle.quantize_per_channel, x, scales, zeros, 0, dtype, threads=1 + i % 2)
        ours = qlearn.quantize_per_channel(x, scales, zeros, 0, dtype, machine=HERE)
        compare("quantize_per_channel", ours.int_repr(), codes, (capability, dtype, scales, zeros))
        compare("dequantize, per channel", ours.dequantize(), real, (capability, dtype, scales, zeros))


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
def test_no_engine_changes_quantize(engine: str, rng: np.random.Generator) -> None:
    for capability in filter(lambda c: not oracle.unavailable(c), oracle.CAPABILITIES):
        x = hard_reals(rng, 100_000, 0.05, 127, "quint8")
        codes, real, *_ = ask(capability, oracle.quantize_per_tensor, x, 0.05, 127, "quint8", engine=engine, threads=2)
        ours = qlearn.quantize_per_tensor(x, 0.05, 127, "quint8", machine=running(engine, capability))
        compare("quantize_per_tensor", ours.int_repr(), codes, (capability, engine))
        compare("dequantize, per tensor", ours.dequantize(), real, (capability, engine))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", INTEGERS)
def test_dequantize_every_code(capability: str, dtype: str, rng: np.random.Generator) -> None:
    """All 256 codes with all 256 zero points and each scale; for qint32, whose difference may wrap, drawn ones."""
    info = np.iinfo(INTEGERS[dtype])
    every = np.arange(info.min, info.max + 1) if dtype != "qint32" else np.zeros(0)
    for scale in (*TIE_RICH, *EXTREME, float(rng.uniform(1e-3, 1))):
        zeros = every if dtype != "qint32" else zero_points(rng, dtype, 64)
        codes = every if dtype != "qint32" else random_codes(rng, 256, dtype)
        grid = np.tile(codes.astype(INTEGERS[dtype]), (len(zeros), 1))  # (zero points, codes)
        scales = np.full(len(zeros), scale)
        real = ask(capability, oracle.dequantize, grid, scales, zeros.astype(np.int64), 0)
        compare("dequantize, per channel", QTensor(grid, scales, zeros, dtype, 0).dequantize(), real, scale)
        for zero_point in rng.choice(zeros, 12).tolist():
            real = ask(capability, oracle.dequantize, grid[0], scale, zero_point)
            ours = QTensor(grid[0], scale, zero_point, dtype).dequantize()
            compare("dequantize, per tensor", ours, real, (dtype, scale, zero_point))


@pytest.mark.torch
@pytest.mark.parametrize(("shape", "layout"), ARRANGEMENTS, ids=str)
def test_any_shape_and_layout(capability: str, shape: tuple[int, ...], layout: str, rng: np.random.Generator) -> None:
    for dtype in INTEGERS:
        x = hard_reals(rng, int(np.prod(shape)), 0.05, 3, dtype).reshape(shape)
        ours = qlearn.quantize_per_tensor(arranged(x, layout), 0.05, 3, dtype, machine=HERE)
        same_tensor(ours, ask(capability, oracle.quantize_per_tensor, x, 0.05, 3, dtype, layout), "tensor")
        for axis in range(x.ndim):
            view = arranged(x, layout)
            scales, zeros = rng.choice(TIE_RICH, view.shape[axis]), zero_points(rng, dtype, view.shape[axis] or 1)
            zeros = zeros[: view.shape[axis]]
            theirs = ask(capability, oracle.quantize_per_channel, x, scales, zeros, axis, dtype, layout)
            if isinstance(theirs, str):  # PyTorch's refusal
                assert "channels_last" in theirs
                with pytest.raises(ValueError, match="axis of a channels_last x must be 0 or 1"):
                    qlearn.quantize_per_channel(view, scales, zeros, axis, dtype)
            else:
                ours = qlearn.quantize_per_channel(view, scales, zeros, axis, dtype, machine=HERE)
                same_tensor(ours, theirs, "channel")


def same_tensor(ours: QTensor, theirs: Any, how: str) -> None:
    codes, real, strides, real_strides = theirs
    compare(f"quantize_per_{how}", ours.int_repr(), codes)
    compare(f"dequantize, per {how}", ours.dequantize(), real)
    if ours.size:
        assert ours.strides == strides
        assert tuple(s // 4 for s in ours.dequantize().strides) == real_strides


@pytest.mark.torch
@pytest.mark.parametrize("change", ["contiguous", "channels_last", "transposed", "sliced", "expanded"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_from_torch_and_back(capability: str, dtype: str, change: str, rng: np.random.Generator) -> None:
    for shape in ((2, 3, 4, 5), (2, 1, 4, 5), (1, 3, 1, 1)):
        x = hard_reals(rng, int(np.prod(shape)), 0.05, 3, dtype).reshape(shape)
        ask(capability, oracle.there_and_back, x, 0.05, 3, dtype, None, change)
        if change == "contiguous":
            scales, zeros = rng.choice(TIE_RICH, shape[1]), zero_points(rng, dtype, shape[1])
            ask(capability, oracle.there_and_back, x, scales, zeros, dtype, 1, change)
            ask(capability, oracle.there_and_back, arranged(x, "channels_last"), scales, zeros, dtype, 1, change)


@pytest.mark.torch
def test_from_torch_refuses() -> None:
    reason = oracle.unavailable("DEFAULT")
    if reason:
        pytest.skip(reason)
    said = ask("DEFAULT", oracle.refusals)
    assert said["not quantized"] == "TypeError: t must be a quantized torch.Tensor, got torch.float32"
    assert said["not a tensor"].startswith("TypeError: t must be a quantized torch.Tensor")
    assert said["quint4x2"].startswith("NotImplementedError: t must be of dtype quint8, qint8, qint32")
    assert said["float zero points"].startswith(
        "NotImplementedError: t must be per_tensor_affine or per_channel_affine"
    )


# Each step is needed: one changed step is caught by PyTorch's recorded integers


def away(y: Any) -> Any:
    return np.sign(y) * np.floor(np.abs(y) + 0.5)


def mutants(zero_point_first: bool, fused: bool = False) -> dict[str, Callable[[float], Any]]:
    """Wrong forms, for a scale, of rint(x * r) + z; of rint(x * r + z); or of rint(fma(x, r, z)): one step changed."""
    f, d = np.float32, np.float64

    def at_its_place(y: Any, z: Any, rounded: Any = np.rint) -> Any:
        return rounded(y + np.asarray(z, y.dtype)) if zero_point_first else rounded(y) + z

    def in_steps(x: Any, r: Any, z: Any, rounded: Any) -> Any:
        return rounded(rounding.fma(x, r, z)) if fused else at_its_place(x * r, z, rounded)

    right = "in one step" if fused else "sum rounded" if zero_point_first else "zero point after"
    placed = {
        "sum rounded": lambda x, r, z: np.rint(x * r + f(z)),
        "in one step": lambda x, r, z: np.rint(rounding.fma(x, r, z)),
        "zero point after": lambda x, r, z: np.rint(x * r) + z,
    }
    return {name: lambda scale, form=form: form for name, form in placed.items() if name != right} | {
        "divide": lambda scale: lambda x, r, z: at_its_place(x / f(scale), z),
        "float64": lambda scale: lambda x, r, z: at_its_place(x.astype(d) / scale, z),
        "float64 reciprocal": lambda scale: lambda x, r, z: at_its_place(x.astype(d) * (1 / scale), z),
        "ties away": lambda scale: lambda x, r, z: in_steps(x, r, z, away),
        "truncate": lambda scale: lambda x, r, z: in_steps(x, r, z, np.trunc),
    }


def ties(source: Source) -> Any:
    """Scale, zero point, and what PyTorch made of their ties."""
    for i, (scale, zero_point) in enumerate(source.arrays["presets"]):
        named = {name: source.arrays[f"ties/{i}/{name}"] for name in ("x", "tensor", "channel", "qint32")}
        yield float(scale), int(zero_point), named


def our_ties(source: Source, name: str, x: Any, scale: float, zero_point: int) -> Any:
    """qlearn's integers for one of ``ties``."""
    machine = source.machine()
    if name == "channel":
        scales, zeros = np.full(len(x), scale), np.full(len(x), zero_point)
        return qlearn.quantize_per_channel(x, scales, zeros, 0, "quint8", machine=machine).int_repr()
    dtype = "quint8" if name == "tensor" else name
    return qlearn.quantize_per_tensor(x, scale, zero_point, dtype, machine=machine).int_repr()


def wrong_quantizers() -> list[tuple[Source, str, str]]:
    """Whose ties, what is quantized (per tensor, per channel, to qint32), and the name of a wrong form."""
    found = []
    for source in two("rounding", "avx2"):
        first = source.machine().has(ZERO_POINT_FIRST)
        found += [(source, "tensor", form) for form in mutants(first, fused=first)]
        found += [(source, name, form) for name in ("channel", "qint32") for form in mutants(first)]
    return found


@pytest.mark.parametrize(("source", "name", "form"), wrong_quantizers(), ids=str)
def test_step_is_needed(source: Source, name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded ties tell each wrong form from the right one."""
    first, wrong = source.machine().has(ZERO_POINT_FIRST), 0
    forms = mutants(first, fused=first and name == "tensor")
    for scale, zero_point, theirs in ties(source):
        given_ = (name, theirs["x"], scale, zero_point)
        assert np.array_equal(our_ties(source, *given_), theirs[name])
        with monkeypatch.context() as patch:
            step = "in_vectors_of_fbgemm" if name == "tensor" else "in_scalars"
            patch.setattr(affine, step, lambda machine, scale=scale: forms[form](scale))
            wrong += int((our_ties(source, *given_) != theirs[name]).sum())
    assert wrong > 0


@each("rounding")
def test_per_tensor_and_per_channel(source: Source) -> None:
    """Equal scales and zero points give equal integers, but where the zero point goes in first: one is fused."""
    differ = sum(int((theirs["tensor"] != theirs["channel"]).sum()) for *_, theirs in ties(source))
    assert (differ > 0) == source.machine().has(ZERO_POINT_FIRST)


DEQUANTIZE_MUTANTS = {
    "float64": lambda q, s, z: ((q.astype(np.float64) - z) * s).astype(np.float32),
    "fused": lambda q, s, z: rounding.fma(s, q, np.float32(s) * np.float32(-z)),
    "distributed": lambda q, s, z: q.astype(np.float32) * np.float32(s) - np.float32(z) * np.float32(s),
}


@pytest.mark.parametrize("source", two("affine", "avx2"), ids=str)
@pytest.mark.parametrize("name", DEQUANTIZE_MUTANTS)
def test_dequantize_step_is_needed(source: Source, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, wrong = source.arrays, 0
    for i, (scale, zero_point, kind) in enumerate(arrays["presets"]):
        q = QTensor(arrays[f"codes/{i}/q"], scale, int(zero_point), ("quint8", "qint8")[int(kind)])
        assert np.array_equal(q.dequantize(), arrays[f"codes/{i}/x"])
        with monkeypatch.context() as patch:
            patch.setattr(affine, "_dequantize_per_tensor", DEQUANTIZE_MUTANTS[name])
            wrong += int((q.dequantize() != arrays[f"codes/{i}/x"]).sum())
    assert wrong > 0


@pytest.mark.parametrize("source", two("affine", "avx2"), ids=str)
def test_dequantize_per_channel_step_is_needed(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = source.arrays
    q = QTensor(arrays["channels/q"], arrays["channels/scales"], arrays["channels/zero_points"], "quint8", 0)
    assert np.array_equal(q.dequantize(), arrays["channels/real"])
    monkeypatch.setattr(
        affine, "_dequantize_per_channel", lambda q, s, z: (q - z).astype(np.float32) * s.astype(np.float32)
    )
    assert not np.array_equal(q.dequantize(), arrays["channels/real"])


# QTensor


def test_qtensor_says_what_it_is() -> None:
    q = QTensor([[1, 2], [3, 4]], 0.5, 1, "quint8")
    assert (q.shape, q.strides, q.ndim, q.size, q.dtype) == ((2, 2), (2, 1), 2, 4, "quint8")
    assert (q.qscheme(), q.q_scale(), q.q_zero_point()) == ("per_tensor_affine", 0.5, 1)
    assert q.dequantize().tolist() == [[0, 0.5], [1, 1.5]]
    assert "scale=0.5, zero_point=1" in repr(q) and "dtype='quint8'" in repr(q)
    for name in ("q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis"):
        with pytest.raises(ValueError, match=rf"{name}\(\) needs a per_channel_affine tensor"):
            getattr(q, name)()
    c = QTensor([[1, 2], [3, 4]], [0.5, 2.0], [1, 3], "qint8", axis=0)
    assert (c.qscheme(), c.q_per_channel_axis()) == ("per_channel_affine", 0)
    assert (c.q_per_channel_scales().tolist(), c.q_per_channel_zero_points().tolist()) == ([0.5, 2], [1, 3])
    assert c.dequantize().tolist() == [[0, 0.5], [0, 2]]
    assert "axis=0" in repr(c)
    for name in ("q_scale", "q_zero_point"):
        with pytest.raises(ValueError, match=rf"{name}\(\) needs a per_tensor_affine tensor"):
            getattr(c, name)()


def test_qtensor_is_a_read_only_copy() -> None:
    codes, scales = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([0.5, 1])
    q = QTensor(codes, scales, [0, 0], "quint8", 0)
    codes[:], scales[:] = 9, 9
    assert q.int_repr().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert q.q_per_channel_scales().tolist() == [0.5, 1]
    with pytest.raises(ValueError, match="read-only"):
        q.int_repr()[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        q.q_per_channel_scales()[0] = 1


@pytest.mark.parametrize("view", ["contiguous", "transposed", "sliced", "channels_last", "channels_last_sliced"])
def test_qtensor_keeps_strides(view: str) -> None:
    codes = arranged(np.arange(120, dtype=np.int64).reshape(2, 3, 4, 5), view)
    q = QTensor(codes, 1.0, 0, "quint8")
    assert q.strides == tuple(s // 8 for s in codes.strides)
    assert np.array_equal(q.int_repr(), codes)


def test_negative_strides_become_contiguous() -> None:
    q = QTensor(np.arange(5)[::-1], 1.0, 0, "quint8")
    assert (q.int_repr().tolist(), q.strides) == ([4, 3, 2, 1, 0], (1,))


# Bad input is refused, by name


@given(dtypes, bad_scales)
def test_bad_scale(dtype: str, scale: float) -> None:
    for call in (
        lambda: qlearn.quantize_per_tensor([1.0], scale, 0, dtype),
        lambda: qlearn.quantize_per_channel([[1.0], [2.0]], [1.0, scale], [0, 0], 0, dtype),
        lambda: QTensor([1], scale, 0, dtype),
        lambda: QTensor([1], [scale], [0], dtype, 0),
    ):
        with pytest.raises(ValueError, match=r"scales? must be positive and finite as float32, got"):
            call()


@given(dtypes, not_numbers)
def test_scale_that_is_no_number(dtype: str, scale: Any) -> None:
    for call in (
        lambda: qlearn.quantize_per_tensor([1.0], scale, 0, dtype),
        lambda: qlearn.quantize_per_channel([1.0], [scale], [0], 0, dtype),
        lambda: QTensor([1], scale, 0, dtype),
    ):
        with pytest.raises(TypeError, match=r"scales? must be"):
            call()


@given(st.data(), dtypes)
def test_zero_point_outside_dtype(data: Any, dtype: str) -> None:
    zero_point = data.draw(outside(dtype))
    for call in (
        lambda: qlearn.quantize_per_tensor([1.0], 1.0, zero_point, dtype),
        lambda: qlearn.quantize_per_channel([[1.0], [2.0]], [1.0, 1.0], [0, zero_point], 0, dtype),
        lambda: QTensor([1], 1.0, zero_point, dtype),
    ):
        with pytest.raises((ValueError, TypeError), match=r"zero_points? must be"):
            call()


@given(dtypes, not_integers)
def test_zero_point_that_is_no_integer(dtype: str, zero_point: Any) -> None:
    for call in (
        lambda: qlearn.quantize_per_tensor([1.0], 1.0, zero_point, dtype),
        lambda: qlearn.quantize_per_channel([1.0], [1.0], [zero_point], 0, dtype),
        lambda: QTensor([1], 1.0, zero_point, dtype),
    ):
        with pytest.raises(TypeError, match=r"zero_points? must be"):
            call()


@given(st.data(), dtypes)
def test_values_outside_dtype(data: Any, dtype: str) -> None:
    with pytest.raises((ValueError, TypeError), match="values must be"):
        QTensor([0, data.draw(outside(dtype))], 1.0, 0, dtype)


@given(dtypes, not_integers)
def test_values_that_are_no_integers(dtype: str, value: Any) -> None:
    with pytest.raises(TypeError, match="values must be integers"):
        QTensor([value], 1.0, 0, dtype)


@given(st.text().filter(lambda s: s not in INTEGERS))
def test_unknown_dtype(dtype: str) -> None:
    for call in (
        lambda: qlearn.quantize_per_tensor([1.0], 1.0, 0, dtype),
        lambda: qlearn.quantize_per_channel([1.0], [1.0], [0], 0, dtype),
        lambda: QTensor([1], 1.0, 0, dtype),
    ):
        with pytest.raises(ValueError, match="dtype must be one of quint8, qint8, qint32"):
            call()


@pytest.mark.parametrize("dtype", [None, np.uint8, 3])
def test_dtype_that_is_no_string(dtype: Any) -> None:
    with pytest.raises(TypeError, match="dtype must be one of the strings"):
        qlearn.quantize_per_tensor([1.0], 1.0, 0, dtype)


@given(st.integers(), st.integers(0, 4))
def test_axis_out_of_range(axis: int, ndim: int) -> None:
    if 0 <= axis < ndim:
        axis -= ndim  # PyTorch takes no negative axis here, and neither do we
    x = np.ones((1,) * ndim, np.float32)
    with pytest.raises(ValueError, match=rf"axis must be in \[0, {ndim}\), got {axis}"):
        qlearn.quantize_per_channel(x, [1.0], [0], axis, "quint8")


@pytest.mark.parametrize("axis", [0.0, "0", [0]])
def test_axis_that_is_no_integer(axis: Any) -> None:
    with pytest.raises(TypeError, match="axis must be an integer"):
        qlearn.quantize_per_channel([1.0], [1.0], [0], axis, "quint8")


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 1))
def test_wrong_number_of_scales_or_zero_points(channels: int, given_: int, axis: int) -> None:
    x = np.ones((channels, channels), np.float32)
    right, wrong = [1] * channels, [1] * given_
    if channels != given_:
        with pytest.raises(ValueError, match=rf"scales must have shape \({channels},\)"):
            qlearn.quantize_per_channel(x, wrong, right, axis, "quint8")
        with pytest.raises(ValueError, match=rf"zero_points must have shape \({channels},\)"):
            qlearn.quantize_per_channel(x, right, wrong, axis, "quint8")


@pytest.mark.parametrize("scales", [[[1.0], [1.0, 2.0]], [[1.0, 1.0]], 1.0])
def test_ragged_or_nested_scales(scales: Any) -> None:
    with pytest.raises(ValueError, match="scales must"):
        qlearn.quantize_per_channel([1.0, 2.0], scales, [0, 0], 0, "quint8")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8, np.bool_, np.complex64, object])
def test_x_of_another_dtype(dtype: Any) -> None:
    """PyTorch: "Quantize only works on Float Tensor"."""
    with pytest.raises(TypeError, match=f"x must be float32, got {np.dtype(dtype)}"):
        qlearn.quantize_per_tensor(np.ones(3, dtype), 1.0, 0, "quint8")
    with pytest.raises(TypeError, match="x must be float32"):
        qlearn.quantize_per_channel(np.ones(3, dtype), [1.0] * 3, [0] * 3, 0, "quint8")


def test_x_of_another_library() -> None:
    """An array-like with a dtype, as torch.Tensor is, must be float32 too."""

    class Foreign:
        def __init__(self, dtype: Any) -> None:
            self.dtype = dtype

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.ones(2, self.dtype)

    assert qlearn.quantize_per_tensor(Foreign(np.float32), 1.0, 0, "quint8").int_repr().tolist() == [1, 1]
    with pytest.raises(TypeError, match="x must be float32, got float64"):
        qlearn.quantize_per_tensor(Foreign(np.float64), 1.0, 0, "quint8")


@pytest.mark.parametrize("x", ["1", [[1.0], [1.0, 2.0]], [None], [1j], {}, True])
def test_x_that_is_no_array(x: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="x must be a float32 array or Python numbers"):
        qlearn.quantize_per_tensor(x, 1.0, 0, "quint8")
