"""elementwise.py: PyTorch's sums and products, every integer, wherever it lies; the question's numbers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import drawing
import qlearn
from conformance import SIZES, SPLITS, assert_cases, assert_equal
from drawing import LAYOUTS
from oracle import ask, compare, running
from qlearn import Machine, QTensor
from qlearn.codes import quantize, rounding
from qlearn.elementwise import sums_and_products
from qlearn.machine.machine import CAPABILITIES, ENGINES
from qlearn.machine.releases import BOOK, RELEASES, ZERO_POINT_FIRST
from recorded import Source, each, two
from recorders import elementwise as elementwise_recorder
from strategies import EXTREME, bad_scales, outside, zero_points

PRESETS = (
    ((0.05, 128), (0.05, 128), (0.1, 128)),
    ((0.037, 90), (0.0185, 30), (0.074, 100)),
    ((0.009925744496285915, 75), (0.02780967578291893, 61), (0.03012925386428833, 56)),
)
EVERY_PAIR = [np.arange(256, dtype=np.uint8).repeat(256), np.tile(np.arange(256, dtype=np.uint8), 256)]


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    """No table that a wrong step made, or that a right one had made before it."""
    sums_and_products._table.cache_clear()
    yield
    sums_and_products._table.cache_clear()


@each("elementwise")
def test_the_question(source: Source) -> None:
    """The 18 integers that the question printed; they lie in vector bodies of a tensor of 50,176 elements."""
    q = source.arrays
    (s1, z1), (s2, z2), (s, z) = PRESETS[2]
    codes = [np.resize(q[f"question/{name}"], 64) for name in ("x1", "x2")]
    for n in (64, 18):  # all in the body, all in the tail
        x1, x2 = QTensor(codes[0][:n], s1, z1, "quint8"), QTensor(codes[1][:n], s2, z2, "quint8")
        out = qlearn.add(x1, x2, s, z, machine=source.machine())
        assert out.int_repr()[:18].tolist() == q["question/printed"].tolist()
    assert (q["question/x1"].astype(int) + q["question/x2"]).tolist()[:3] == [135, 125, 121]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_question_on_every_release(capability: str, release: str) -> None:
    machine = Machine("fbgemm", capability, 1, release=release)
    (s1, z1), (s2, z2), (s, z) = PRESETS[2]
    for repeat in (1, 4):  # in the tail, in the body
        x1, x2 = (
            QTensor(np.tile(np.uint8(codes), repeat), *own, "quint8")
            for codes, own in ((elementwise_recorder.X1, (s1, z1)), (elementwise_recorder.X2, (s2, z2)))
        )
        out = qlearn.add(x1, x2, s, z, machine=machine).int_repr()
        assert out[:18].tolist() == list(elementwise_recorder.PRINTED)


def spread(codes: Any, path: str) -> Any:
    """The same codes, side by side, or for the tail with gaps between them."""
    return codes if path == "body" else np.repeat(codes, 2)[::2]


def table(name: str, machine: Machine, path: str, params: Any, dtype: str = "quint8") -> Any:
    """qlearn's results of every pair, computed in the body or in the tail."""
    (sa, za), (sb, zb), (so, zo) = [(float(scale), int(zero_point)) for scale, zero_point in params]
    a, b = (spread(pair.view(np.int8) if dtype == "qint8" else pair, path) for pair in EVERY_PAIR)
    out = getattr(qlearn, name)(QTensor(a, sa, za, dtype), QTensor(b, sb, zb, dtype), so, zo, machine=machine)
    return out.int_repr().reshape(256, 256)


@pytest.mark.parametrize("name", ["add", "add_relu", "mul", "qnnpack"])
@each("elementwise")
def test_recorded_tables(source: Source, name: str) -> None:
    """Every pair of codes, in the vector body and in the tail."""
    known = {"mul": "products", "qnnpack": "qnnpack"}.get(name, "presets")
    for i, params in enumerate(source.arrays[known]):
        for path in ("body", "tail"):
            if name == "qnnpack":
                ours = table("add", source.machine("qnnpack"), path, params)
                compare("add, recorded", ours, source.arrays[f"qnnpack/{i}"])
            else:
                ours = table(name, source.machine(), path, params)
                compare(f"{name}, recorded", ours, source.arrays[f"{name}/{i}/{path}"])


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["add", "add_relu", "mul", "mul_relu"])
class TestPairs:
    """The operators of two tensors against the running PyTorch."""

    def test_every_pair(self, dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
        """All 65,536 pairs for new scales and zero points: random, related, near ties; in the body and in the tail."""
        assert_equal(name, engine, dispatch, rng, [{"step": step} for step in (1, 2)])

    def test_sizes(self, dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
        """1 to 200 elements, around multiples of 64, and where threads split: each time some of them."""
        sizes = rng.choice(np.array(SIZES), 60, replace=False).tolist()
        draws = [{"n": n, "layout": "contiguous", "threads": 1 + n % 2} for n in sizes]
        split = int(rng.choice(np.array(SPLITS)))
        draws += [{"n": split, "layout": "contiguous", "threads": threads} for threads in (1, 2)]
        assert_equal(name, engine, dispatch, rng, draws)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_layouts(self, dispatch: str, engine: str, name: str, layout: str, rng: np.random.Generator) -> None:
        """Small and large tensors of one layout, on one thread and two."""
        draws = [{"n": n, "layout": layout} for n in rng.choice(np.array(SIZES), 6).tolist()]
        draws += [{"n": int(rng.choice(np.array(SPLITS))), "layout": layout, "threads": 2}]
        assert_equal(name, engine, dispatch, rng, draws)

    def test_qint32(self, dispatch: str, engine: str, name: str, rng: np.random.Generator) -> None:
        draws = [{"n": n, "dtype": "qint32", "threads": 1 + n % 3} for n in (1, 7, 15, 16, 17, 31, 33, 1000, 33000)]
        assert_equal(name, engine, dispatch, rng, draws)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["add", "add_relu", "mul", "mul_relu"])
def test_any_zero_point_of_qint32(dispatch: str, name: str, rng: np.random.Generator) -> None:
    """Zero points that float32 does not hold, differences and sums that leave int32; in the body and in the tail."""
    cases = []
    for _ in range(30):
        params = list(zip(drawing.scales(rng, 3), [zero_points(rng, "qint32") for _ in "abo"], strict=True))
        pair = [drawing.Operand(drawing.codes(rng, 50, "qint32"), (50,), (1,), *own) for own in params[:2]]
        cases.append(drawing.Case(tuple(pair), params[2]))
    assert_cases("fbgemm", dispatch, [(name, case) for case in cases])


@pytest.mark.torch
@pytest.mark.parametrize("name", ["add", "add_relu", "mul", "mul_relu"])
def test_extreme_scales(dispatch: str, name: str, rng: np.random.Generator) -> None:
    """Scales where an inverse, a product or a sum leaves float32 or int32."""
    for dtype in ("quint8", "qint8"):
        for _ in range(6):
            params = [(float(rng.choice([*EXTREME, 0.05])), zero_points(rng, dtype)) for _ in "abo"]
            for path in ("body", "tail"):
                theirs = ask(dispatch, tables_of, name, dtype, path, params, elementwise=True)
                ours = table(name, running("fbgemm", dispatch), path, params, dtype=dtype)
                compare(name, ours, theirs, (dispatch, dtype, path, params))


def tables_of(name: str, dtype: str, path: str, params: Any) -> Any:
    """PyTorch's results of every pair, computed in the body or in the tail."""
    import torch

    (sa, za), (sb, zb), (so, zo) = params
    operands = []
    for pair, scale, zero_point in zip(EVERY_PAIR, (sa, sb), (za, zb), strict=True):
        codes = torch.from_numpy(np.repeat(pair.view(np.int8) if dtype == "qint8" else pair, 2))
        whole = torch._make_per_tensor_quantized_tensor(codes, scale, zero_point)
        operands.append(whole[::2] if path == "tail" else whole[::2].contiguous())
    return getattr(torch.ops.quantized, name)(*operands, so, zo).int_repr().numpy().reshape(256, 256)


# Each step is needed


def mutants() -> list[tuple[Source, str, str, Any]]:
    """Whose tables, path, the step, and a wrong form of it."""
    sub, fused = sums_and_products.dequantize_subtract, sums_and_products.dequantize_fused
    found: list[tuple[Source, str, str, Any]] = []
    for source in two("elementwise", "avx2"):
        found += [(source, "body", "dequantize_fused", sub), (source, "tail", "dequantize_subtract", fused)]
        found += [(source, "body", "in_vectors", wrong) for wrong in wrong_quantizers(zero_point_first=False)]
        found += [(source, "tail", "in_scalars", chosen(wrong)) for wrong in wrong_quantizers(first_in(source))]
    for source in two("elementwise", "default"):
        wrong_ones = [*wrong_quantizers(first_in(source)), *([quantize.add_first] if first_in(source) else [])]
        found += [(source, "body", "dequantize_subtract", fused)]
        found += [(source, "body", "in_vectors_of_fbgemm", chosen(wrong)) for wrong in wrong_ones]
    return found


def chosen(quantizer: Any) -> Any:
    """What chooses a quantizer by the machine, but always this one."""
    return lambda machine: quantizer


def first_in(source: Source) -> bool:
    """Whether the release adds the zero point before it rounds."""
    return source.machine().has(ZERO_POINT_FIRST)


def wrong_quantizers(zero_point_first: bool) -> list[Any]:
    """Wrong forms of rint(x * r) + z, or of rint(x * r + z): one step changed in each."""
    f, d = np.float32, np.float64

    def at_its_place(y: Any, z: int) -> Any:
        return np.rint(y + y.dtype.type(z)) if zero_point_first else np.rint(y) + z

    def scale(r: Any) -> float:
        return next(s for s in (0.1, 0.074) if r == rounding.reciprocal(s))

    def divide(x: Any, r: Any, z: int) -> Any:
        return at_its_place(x / f(scale(r)), z)

    def double(x: Any, r: Any, z: int) -> Any:
        return at_its_place(x.astype(d) * (1 / scale(r)), z)

    def away(x: Any, r: Any, z: int) -> Any:
        y = x * r + f(z) if zero_point_first else x * r
        return np.sign(y) * np.floor(np.abs(y) + f(0.5)) + (0 if zero_point_first else z)

    moved = [quantize.in_vectors] if zero_point_first else [quantize.add_first, rounding.fma_then_round]
    return [*moved, divide, double, away]


@pytest.mark.parametrize(("source", "path", "step", "wrong"), mutants())
def test_step_is_needed(source: Source, path: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded tables tell each wrong step from the right one."""
    monkeypatch.setattr(sums_and_products, step, wrong)
    tables = [table("add", source.machine(), path, PRESETS[i]) for i in (0, 1)]
    assert any((ours != source.arrays[f"add/{i}/{path}"]).any() for i, ours in enumerate(tables))


@pytest.mark.parametrize("source", two("elementwise", "avx2", "default"), ids=str)
@pytest.mark.parametrize("path", ["body", "tail"])
def test_another_release_is_told(source: Source, path: str) -> None:
    """The recorded tables are not those of the release with the zero point at the other place, where there are two."""
    other = replace(source.machine(), release=BOOK if first_in(source) else ZERO_POINT_FIRST.first)
    differ = any((table("add", other, path, PRESETS[i]) != source.arrays[f"add/{i}/{path}"]).any() for i in (0, 1))
    assert differ == (path == "tail" or source.kind == "default")


def product_mutants() -> list[tuple[Source, str, str, Any]]:
    """Whose products, path, the step of mul, and a wrong form of it."""
    f, d = np.float32, np.float64

    def before(c: Any, m: Any, z: int) -> Any:
        return np.rint(c.astype(f) * m + f(z)).astype(np.int64)

    def in_double(c: Any, m: Any, z: int) -> Any:
        return np.rint(c.astype(d) * d(m)).astype(np.int64) + z

    def away(c: Any, m: Any, z: int) -> Any:
        y = c.astype(f) * m
        return (np.sign(y) * np.floor(np.abs(y) + f(0.5))).astype(np.int64) + z

    def floor(c: Any, m: Any, z: int) -> Any:
        return np.floor(c.astype(f) * m).astype(np.int64) + z

    steps = {
        "avx2": (("body", "requantize_vector"), ("tail", "requantize_scalar")),
        "default": (("body", "requantize_default"), ("tail", "requantize_scalar")),
    }
    orders = [
        lambda a, b, s: f(a) * (f(b) * (f(1) / f(s))),
        lambda a, b, s: f(a) * f(b) / f(s),
        lambda a, b, s: f(a * b / s),
    ]
    found: list[tuple[Source, str, str, Any]] = []
    for source in two("elementwise", *steps):
        wrong = [before, in_double, away, floor]
        found += [(source, path, step, form) for path, step in steps[source.kind] for form in wrong]
        if source.kind == "avx2":
            found += [(source, "body", "multiplier_of_product", order) for order in orders]
    return found


@pytest.mark.parametrize(("source", "path", "step", "wrong"), product_mutants())
def test_step_of_product_is_needed(
    source: Source, path: str, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's recorded products tell each wrong step from the right one."""
    monkeypatch.setattr(sums_and_products, step, wrong)
    tables = [table("mul", source.machine(), path, params) for params in source.arrays["products"]]
    assert any((ours != source.arrays[f"mul/{i}/{path}"]).any() for i, ours in enumerate(tables))


@pytest.mark.parametrize("name", ["add_relu", "mul_relu"])
@pytest.mark.parametrize("path", ["body", "tail"])
def test_relu_clamps_at_the_zero_point(name: str, path: str) -> None:
    """max(x, 0) before the quantization and max(code, zero_point) after it are one: real 0 becomes the zero point."""
    for params in PRESETS:
        machine = Machine("fbgemm", "AVX2", 1)
        plain, clamped = (table(which, machine, path, params) for which in (name.removesuffix("_relu"), name))
        assert (clamped == np.maximum(plain, params[2][1])).all() and (clamped != plain).any()


# Bad input is refused, by name

X = QTensor(np.zeros((2, 3, 4, 5), np.uint8), 0.5, 3, "quint8")


@given(bad_scales)
def test_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        qlearn.add(X, X, scale, 0)


@given(outside("quint8"))
def test_zero_point_outside_dtype(zero_point: int) -> None:
    with pytest.raises((ValueError, TypeError), match="zero_point must be"):
        qlearn.add(X, X, 0.5, zero_point)


@given(st.one_of(st.none(), st.integers(), st.just(np.zeros(3))))
def test_input_that_is_no_qtensor(other: Any) -> None:
    with pytest.raises(TypeError, match="b must be a QTensor, got"):
        qlearn.add(X, other, 0.5, 0)
    with pytest.raises(TypeError, match="a must be a QTensor, got"):
        qlearn.add(other, X, 0.5, 0)


def test_inputs_that_do_not_fit() -> None:
    like = X.int_repr()
    with pytest.raises(ValueError, match="same dtype, got quint8 and qint8"):
        qlearn.add(X, QTensor(like, 0.5, 3, "qint8"), 0.5, 0)
    with pytest.raises(ValueError, match=r"shapes that broadcast, got \(2, 3, 4, 5\) and \(2, 3, 4\)"):
        qlearn.add(X, QTensor(like[..., 0], 0.5, 3, "quint8"), 0.5, 0)
    with pytest.raises(ValueError, match="b must be quantized per tensor, got per_channel_affine"):
        qlearn.add(X, QTensor(like, [0.5] * 3, [0] * 3, "quint8", 1), 0.5, 0)
    with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
        qlearn.add(X, X, 0.5, 0, machine="x86")  # type: ignore[arg-type]


def test_product_of_channels_last_and_more_dimensions() -> None:
    """PyTorch: "required rank 4 tensor to use channels_last format"."""
    last = QTensor(np.moveaxis(np.zeros((2, 4, 5, 3), np.uint8), -1, 1), 0.5, 3, "quint8")
    with pytest.raises(ValueError, match="a must be contiguous to be multiplied in 5 dimensions"):
        qlearn.mul(last, QTensor(np.zeros((2, 2, 3, 4, 5), np.uint8), 0.5, 3, "quint8"), 0.5, 0)
