"""mistakes.py: each known mistake is made here by other code, and named from its numbers alone."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest

import qlearn
from live_layers import ENGINES
from qlearn import Machine, QTensor
from qlearn.machine.machine import CAPABILITIES
from qlearn.network import Step, flawed
from qlearn.network.mistakes import MISTAKES, explain, with_mistake

TRIES = 150


def layer(rng: np.random.Generator, op: str, *, bits: int = 8) -> tuple[Step, QTensor]:
    """A small layer whose results lie near ties: scales a power of two apart, a bias in quarters of a step."""
    linear = op.startswith("linear")
    shape, kernel = ((4, 33), (24, 33)) if linear else ((1, 8, 6, 7), (24, 8, 3, 3))
    sx, sw = float(rng.choice([0.05, 0.1, 0.037, 0.013, 2**-4])), float(rng.choice([0.02, 0.01, 0.0185, 0.029, 2**-6]))
    x = QTensor(rng.integers(0, 2**bits, shape).astype(np.uint8), sx, int(rng.integers(3, 2**bits - 3)), "quint8")
    scales: Any = np.full(24, sw) if rng.random() < 0.5 else sw
    zeros: Any = np.zeros(24, np.int64) if np.ndim(scales) else 0
    w = QTensor(rng.integers(-128, 128, kernel).astype(np.int8), scales, zeros, "qint8", 0 if np.ndim(scales) else None)
    bias = (rng.integers(-4000, 4000, 24) / 4 * sx * sw).astype(np.float32)
    settings = {"weight": w, "bias": bias}
    if not linear:
        settings |= {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    scale = float(np.float32(sx) * np.float32(sw)) * 2.0 ** int(rng.integers(8, 11))
    return Step("layer", op, ("x",), {**settings, "scale": scale, "zero_point": int(rng.integers(1, 250))}), x


def pair(rng: np.random.Generator, op: str) -> tuple[Step, list[QTensor]]:
    """Two operands of 199 elements, three blocks and a tail, with related scales."""
    sa = float(rng.choice([0.05, 0.037, 0.1]))
    sb, so = (sa * float(rng.choice([0.5, 1.0, 2.0])) for _ in "ab")
    so = so if op.startswith("add") else sa * sb * 2.0 ** int(rng.integers(6, 8))
    operands = [
        QTensor(rng.integers(0, 256, 199).astype(np.uint8), s, int(rng.integers(0, 256)), "quint8") for s in (sa, sb)
    ]
    return Step("sum", op, ("a", "b"), {"scale": so, "zero_point": int(rng.integers(1, 255))}), operands


def reals(rng: np.random.Generator) -> tuple[Step, list[Any]]:
    """Real numbers at ties, give or take a float32 step."""
    scale = float(rng.choice([0.05, 0.1, 0.037]))
    x = ((rng.integers(-300, 300, 500) + 0.5) * scale).astype(np.float32)
    x = (x.view(np.int32) + rng.integers(-1, 2, 500, dtype=np.int32)).view(np.float32)
    settings = {"scale": scale, "zero_point": int(rng.integers(1, 255)), "dtype": "quint8"}
    return Step("quant", "quantize", ("x",), settings), [x]


def draw(rng: np.random.Generator, op: str) -> tuple[Step, list[Any]]:
    if op == "quantize":
        return reals(rng)
    if op.startswith(("add", "mul")):
        return pair(rng, op)
    step, x = layer(rng, op)
    return step, [x]


def right_codes(step: Step, inputs: list[Any], machine: Machine) -> np.ndarray:
    return step.compute(dict(zip(step.inputs, inputs, strict=True)), machine).int_repr()


OPS = ("quantize", "add", "add_relu", "mul", "mul_relu", "linear", "linear_relu", "conv2d", "conv2d_relu")


@pytest.mark.parametrize("op", OPS)
def test_without_a_mistake(op: str, rng: np.random.Generator) -> None:
    """Every engine and capability: with no step replaced the arithmetic is qlearn's own, and nothing is explained."""
    for engine in ENGINES:
        for capability, vnni in [(c, True) for c in CAPABILITIES] + [("AVX2", False)]:
            machine = Machine(engine, capability, 1, vnni=vnni)
            for _ in range(2):
                step, inputs = draw(rng, op)
                right = right_codes(step, inputs, machine)
                found = flawed.of(step, inputs, machine)
                assert found is not None
                assert np.array_equal(found[0](flawed.Arithmetic()), right), (machine, step)
                assert explain(step, inputs, right, machine) == ()


def sums(step: Step, x: QTensor, fill: int | None = None) -> np.ndarray:
    """The exact accumulator of a layer by plain sums, (N, M, *out); fill is the code in the padding."""
    w = step.weight.int_repr().astype(np.int64)
    codes, zero_point = x.int_repr().astype(np.int64), x.q_zero_point()
    if step.op.startswith("linear"):
        return (codes - zero_point) @ w.T
    padded = np.pad(codes, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=zero_point if fill is None else fill)
    n, _, height, width = codes.shape
    out = np.zeros((n, len(w), height, width), np.int64)
    for i in range(height):
        for j in range(width):
            seen = padded[:, :, i : i + 3, j : j + 3] - zero_point
            out[:, :, i, j] = np.tensordot(seen, w, axes=([1, 2, 3], [1, 2, 3]))
    return out


def along(step: Step, values: Any) -> Any:
    """One number for each output channel, to broadcast with sums."""
    shape = (-1,) if step.op.startswith("linear") else (-1, 1, 1)
    return np.broadcast_to(np.asarray(values), step.weight.shape[:1]).reshape(shape)


def w_scales(step: Step) -> Any:
    """float32, along the output channels."""
    return along(step, step.weight.q_per_channel_scales()).astype(np.float32)


def scales(step: Step, x: QTensor) -> tuple[Any, Any, float, int]:
    """x_scale * w_scale and the bias in float64, along the output channels; scale and zero point of the result."""
    weight = step.weight
    w = weight.q_scale() if weight.qscheme() == "per_tensor_affine" else weight.q_per_channel_scales()
    assert step.scale is not None and step.zero_point is not None
    return along(step, w * x.q_scale()), along(step, step.bias.astype(np.float64)), step.scale, step.zero_point


def clamp(codes: Any) -> np.ndarray:
    return np.clip(codes, 0, 255).astype(np.uint8)


# Re-implementations, each with one mistake. They take a step and its inputs, and give codes.


def in_float64(step: Step, x: QTensor, engine: str) -> np.ndarray:
    """What NumPy does if nobody thinks of it."""
    t, bias, so, zo = scales(step, x)
    if engine == "qnnpack":
        bias = np.rint(bias / t) * t
    return clamp(np.rint((sums(step, x) * t + bias) / so) + zo)


def float32(step: Step, x: QTensor, engine: str) -> np.ndarray:
    """The result in steps of its scale, float32, before rounding and zero point: fbgemm per channel, or qnnpack."""
    t, bias, so, _ = scales(step, x)
    f = np.float32
    if engine == "qnnpack":
        whole = np.rint(bias.astype(f) * (f(1) / t.astype(f)))
        sw = w_scales(step)
        return (sums(step, x) + whole).astype(f) * ((sw * f(x.q_scale())) * (f(1) / f(so)))
    sw = w_scales(step)
    return (sums(step, x).astype(f) + bias.astype(f) / (f(x.q_scale()) * sw)) * ((f(x.q_scale()) * sw) / f(so))


def truncated(step: Step, x: QTensor, engine: str) -> np.ndarray:
    return clamp(np.trunc(float32(step, x, engine)) + step.zero_point)


def away(step: Step, x: QTensor, engine: str) -> np.ndarray:
    y = float32(step, x, engine).astype(np.float64)
    return clamp(np.copysign(np.floor(np.abs(y) + 0.5), y) + step.zero_point)


def point_first(step: Step, x: QTensor, engine: str) -> np.ndarray:
    return clamp(np.rint(float32(step, x, engine) + np.float32(step.zero_point)))


def divided(step: Step, x: QTensor, engine: str) -> np.ndarray:
    """qnnpack: (w_scale * x_scale) / scale, where the kernel multiplies by 1 / scale."""
    t, bias, so, zo = scales(step, x)
    f = np.float32
    sw = w_scales(step)
    whole = np.rint(bias.astype(f) * (f(1) / t.astype(f)))
    return clamp(np.rint((sums(step, x) + whole).astype(f) * ((sw * f(x.q_scale())) / f(so))) + zo)


def whole_bias(step: Step, x: QTensor, engine: str) -> np.ndarray:
    """fbgemm with the bias of ONNX: int32, in steps of x_scale * w_scale."""
    _, bias, so, zo = scales(step, x)
    f = np.float32
    sw = w_scales(step)
    product = f(x.q_scale()) * sw
    return clamp(np.rint((sums(step, x) + np.rint(bias / product)).astype(f) * (product / f(so))) + zo)


def real_bias(step: Step, x: QTensor, engine: str) -> np.ndarray:
    """qnnpack with a bias that is not rounded."""
    _, bias, so, zo = scales(step, x)
    f = np.float32
    sw = w_scales(step)
    product = sw * f(x.q_scale())
    return clamp(np.rint((sums(step, x).astype(f) + bias.astype(f) / product) * (product * (f(1) / f(so)))) + zo)


def gemmlowp(step: Step, x: QTensor, engine: str) -> np.ndarray:
    """SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, in Python's integers and fractions."""
    t, bias, so, zo = scales(step, x)
    acc = sums(step, x) + np.rint(bias / t).astype(np.int64)
    m = np.broadcast_to(t / so, acc.shape)

    def one(a: int, multiplier: float) -> int:
        exponent = 0
        while multiplier < 0.5:
            multiplier, exponent = multiplier * 2, exponent + 1
        q = round(multiplier * 2**31)
        doubled = Fraction(a * q, 2**31)
        high = int(doubled + Fraction(1, 2)) if a * q >= 0 else -int(-doubled + Fraction(1, 2) - Fraction(1, 2**31))
        divided = Fraction(abs(high), 2**exponent) + Fraction(1, 2)
        return int(divided) if high >= 0 else -int(divided)

    found = np.array([one(int(a), float(f)) for a, f in zip(acc.flat, m.flat, strict=True)])
    return clamp(found.reshape(acc.shape) + zo)


def padded_with_0(step: Step, x: QTensor, engine: str) -> np.ndarray:
    _, bias, so, zo = scales(step, x)
    f = np.float32
    sw = w_scales(step)
    product = f(x.q_scale()) * sw
    acc = sums(step, x, fill=0).astype(f)
    return clamp(np.rint((acc + bias.astype(f) / product) * (product / f(so))) + zo)


LAYER_MISTAKES: list[tuple[str, str, str, Callable[..., Any]]] = [
    ("truncation", "linear", "fbgemm", truncated),
    ("truncation", "conv2d", "qnnpack", truncated),
    ("half away from zero", "linear", "fbgemm", away),
    ("half away from zero", "conv2d", "qnnpack", away),
    ("zero point", "linear", "qnnpack", point_first),
    ("zero point", "conv2d", "fbgemm", point_first),
    ("divide", "linear", "qnnpack", divided),
    ("bias", "conv2d", "fbgemm", whole_bias),
    ("bias", "linear", "qnnpack", real_bias),
    ("gemmlowp", "linear", "fbgemm", gemmlowp),
    ("gemmlowp", "conv2d", "qnnpack", gemmlowp),
    ("padding", "conv2d", "fbgemm", padded_with_0),
]


def names(step: Step, inputs: list[Any], theirs: Any, machine: Machine) -> list[str]:
    return [explanation.name for explanation in explain(step, inputs, theirs, machine)]


def first_difference(draw: Callable[[np.random.Generator], Any], made: Callable[..., Any], machine: Machine) -> Any:
    """The first of a row of drawn layers in which a mistake changes an integer, with the numbers that it gives."""
    rng = np.random.default_rng(5)
    for _ in range(TRIES):
        step, inputs = draw(rng)
        theirs = made(step, *inputs)
        if not np.array_equal(theirs, right_codes(step, inputs, machine)):
            return step, inputs, theirs
    raise AssertionError("the mistake changed nothing")


@pytest.mark.parametrize(("name", "op", "engine", "mistake"), LAYER_MISTAKES)
def test_mistake_in_a_layer(name: str, op: str, engine: str, mistake: Callable[..., Any]) -> None:
    def per_channel(rng: np.random.Generator) -> Any:
        while True:
            step, x = layer(rng, op)
            if step.weight.qscheme() == "per_channel_affine":
                return step, [x]

    machine = Machine(engine, "AVX2", 1)
    step, inputs, theirs = first_difference(per_channel, lambda step, x: mistake(step, x, engine), machine)
    assert name in names(step, inputs, theirs, machine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("op", ["linear", "conv2d"])
def test_float64_in_a_layer(op: str, engine: str) -> None:
    machine = Machine(engine, "AVX512", 1)
    step, inputs, theirs = first_difference(partial(draw, op=op), partial(in_float64, engine=engine), machine)
    assert "float64" in names(step, inputs, theirs, machine)


def sum_in(step: Step, a: QTensor, b: QTensor, *, divide: bool = False, point_first: bool = False) -> np.ndarray:
    """A sum in the order of the AVX2 body, but for what is asked."""
    f = np.float32
    x = [f(t.q_scale()) * (t.int_repr().astype(np.int32) - t.q_zero_point()).astype(f) for t in (a, b)]
    y = (x[0] + x[1]) / f(step.scale) if divide else (x[0] + x[1]) * (f(1) / f(step.scale))
    return clamp(np.rint(y + f(step.zero_point)) if point_first else np.rint(y) + step.zero_point)


@pytest.mark.parametrize("release", ["2.14", "2.13"])
def test_mistakes_in_a_sum(release: str) -> None:
    """The tail's formula everywhere, the body's everywhere, float64, qnnpack's integers, a cut."""
    machine = Machine("fbgemm", "AVX2", 1, release=release)

    def float64(step: Step, a: QTensor, b: QTensor) -> Any:
        x = [t.q_scale() * (t.int_repr().astype(np.int64) - t.q_zero_point()) for t in (a, b)]
        return clamp(np.rint((x[0] + x[1]) / step.scale) + step.zero_point)

    def tail(step: Step, a: QTensor, b: QTensor) -> Any:
        return sum_in(step, a, b, point_first=release == "2.13")

    def cut(step: Step, a: QTensor, b: QTensor) -> Any:
        parts = [(slice(64 * i, 64 * i + 64)) for i in range(4)]  # each part a tensor of its own: no tail but the last
        one = [qlearn.add(*(QTensor(t.int_repr()[p], t.q_scale(), t.q_zero_point(), "quint8") for t in (a, b)),
                          step.scale, step.zero_point, machine=machine).int_repr() for p in parts]  # fmt: skip
        body = np.concatenate(one)
        more = QTensor(np.resize(a.int_repr(), 256), a.q_scale(), a.q_zero_point(), "quint8")
        other = QTensor(np.resize(b.int_repr(), 256), b.q_scale(), b.q_zero_point(), "quint8")
        whole = qlearn.add(more, other, step.scale, step.zero_point, machine=machine).int_repr()
        assert np.array_equal(body[:192], whole[:192])
        return whole[:199]

    def integers(step: Step, a: QTensor, b: QTensor) -> Any:
        return qlearn.add(a, b, step.scale, step.zero_point, machine=Machine("qnnpack", "AVX2", 1)).int_repr()

    for name, mistake in (
        ("float64", float64),
        ("tail for body", tail),
        ("body for tail", cut),
        ("engine qnnpack", integers),
    ):
        step, inputs, theirs = first_difference(lambda rng: pair(rng, "add"), mistake, machine)
        assert name in names(step, inputs, theirs, machine), name


@pytest.mark.parametrize(("here", "there"), [("2.14", "2.13"), ("2.13", "2.15")])
def test_another_release(here: str, there: str) -> None:
    """The zero point of 2.13, and of all others where 2.13 is meant."""
    machine, other = (Machine("fbgemm", "AVX2", 1, release=release) for release in (here, there))
    step, inputs, theirs = first_difference(
        lambda rng: draw(rng, "quantize"), lambda step, x: step.compute({"x": x}, other).int_repr(), machine
    )
    assert f"release {there}" in names(step, inputs, theirs, machine)


def test_saturation() -> None:
    """The sums of a CPU without VNNI on a machine that has it, and the reverse; of full-range codes."""
    fine, clamped = Machine("fbgemm", "AVX2", 1), Machine("fbgemm", "AVX2", 1, vnni=False)
    for op in ("linear", "conv2d"):
        for machine, other in ((fine, clamped), (clamped, fine)):

            def on_other(step: Step, x: QTensor, other: Machine = other) -> Any:
                return step.compute({"x": x}, other).int_repr()

            step, inputs, theirs = first_difference(partial(draw, op=op), on_other, machine)
            assert "int16 saturation" in names(step, inputs, theirs, machine)


@pytest.mark.parametrize(("release", "rest"), [("2.14", {"two roundings"}), ("2.13", set())])
def test_each_is_found_again(release: str, rest: set[str]) -> None:
    """What ``with_mistake`` makes is named by ``explain`` wherever it changes an integer; each does so somewhere.

    Only 2.13 has a product and a zero point in one step, that can be two.
    """
    rng, machine = np.random.default_rng(7), Machine("onednn", "AVX512", 1, release=release)
    left = set(MISTAKES) - {"scales inverted once"} - rest
    for i in range(30 * len(OPS)):
        step, inputs = draw(rng, OPS[i % len(OPS)])
        right = right_codes(step, inputs, machine)
        for name in MISTAKES if i < 2 * len(OPS) else sorted(left):
            try:
                theirs = with_mistake(step, inputs, name, machine)
            except KeyError:  # the step has no such arithmetic
                continue
            if not np.array_equal(theirs, right):
                left.discard(name)
                assert name in names(step, inputs, theirs, machine)
        if i > 2 * len(OPS) and not left:
            return
    assert not left, f"these changed nothing: {left}"


def test_scales_inverted_once() -> None:
    """The rarest: it changes one integer of a layer in a hundred."""
    rng, machine, name = np.random.default_rng(0), Machine("onednn", "AVX512", 1), "scales inverted once"
    for _ in range(400):
        step, x = layer(rng, "linear")
        theirs = with_mistake(step, [x], name, machine)
        if not np.array_equal(theirs, step.compute({"x": x}, machine).int_repr()):
            assert name in names(step, [x], theirs, machine)
            return
    raise AssertionError("it changed nothing")


def test_an_unknown_one() -> None:
    """A single integer that is off by one somewhere, or random integers: nothing is named."""
    machine, rng = Machine.default(), np.random.default_rng(3)
    for op in OPS:
        step, inputs = draw(rng, op)
        theirs = right_codes(step, inputs, machine).astype(np.int64)
        theirs.flat[5] += 1 if theirs.flat[5] < 200 else -1
        assert explain(step, inputs, theirs, machine) == ()
        assert explain(step, inputs, rng.integers(0, 256, theirs.shape), machine) == ()


def test_all_that_fit_are_named() -> None:
    """Without ties and with results above zero, cutting and rounding down are the same."""
    rng, machine = np.random.default_rng(1), Machine("fbgemm", "AVX2", 1)
    step, (a, b) = pair(rng, "add")
    step = Step(step.name, step.op, step.inputs, {"scale": step.scale * 1.01, "zero_point": 0})
    a, b = (QTensor(t.int_repr(), t.q_scale(), 0, "quint8") for t in (a, b))
    found = names(step, [a, b], with_mistake(step, [a, b], "truncation", machine), machine)
    assert {"truncation", "floor"} <= set(found)


def test_no_such_mistake() -> None:
    step, inputs = pair(np.random.default_rng(1), "add")
    with pytest.raises(KeyError, match="'padding' can be made in sum"):
        with_mistake(step, inputs, "padding")


def other_layers() -> dict[str, tuple[Step, list[Any]]]:
    """Averages, activations and cat, of codes and parameters that make ties."""
    rng = np.random.default_rng(11)
    x = QTensor(rng.integers(0, 256, (2, 11, 6, 8)).astype(np.uint8), 0.05, 97, "quint8")
    other = QTensor(rng.integers(0, 256, (2, 3, 6, 8)).astype(np.uint8), 0.1, 3, "quint8")
    params = {"scale": 0.1, "zero_point": 51}
    window = {"kernel_size": (2, 3), "stride": 2, "padding": 0, "ceil_mode": False}
    settings: dict[str, dict[str, Any]] = {
        "adaptive_avg_pool2d": {"output_size": (2, 3)},
        "avg_pool2d": {**window, "count_include_pad": True, "divisor_override": None},
        "mean": {"dim": (2, 3), "keepdim": False},
        "hardsigmoid": {},
        "hardswish": params,
        "leaky_relu": {"negative_slope": 0.5, **params},
        "elu": {**params, "alpha": 1.0},
        "sigmoid": {},
        "tanh": {},
    }
    found = {op: (Step("layer", op, ("x",), some), [x]) for op, some in settings.items()}
    return found | {"cat": (Step("layer", "cat", ("x", "y"), {**params, "dim": 1}), [x, other])}


@pytest.mark.parametrize("op", other_layers())
def test_other_layers(op: str) -> None:
    """Right numbers are not explained; a cut and ties away from zero are named where they change an integer."""
    step, inputs = other_layers()[op]
    for machine in (Machine("fbgemm", "AVX512", 2), Machine("qnnpack", "AVX2", 1), Machine("x86", "DEFAULT", 1)):
        right = right_codes(step, inputs, machine)
        assert explain(step, inputs, right, machine) == ()
        for name in ("truncation", "half away from zero", "float64"):
            theirs = with_mistake(step, inputs, name, machine)
            if not np.array_equal(theirs, right):
                assert name in names(step, inputs, theirs, machine)
            else:
                assert name != "truncation"


def test_an_average_by_hand() -> None:
    """The mean of four codes, rounded half up in integers, as firmware does it: every fourth is a tie."""
    step, machine = other_layers()["mean"][0], Machine("fbgemm", "AVX2", 1)
    x = QTensor(np.random.default_rng(2).integers(0, 256, (2, 64, 2, 2)).astype(np.uint8), 0.05, 97, "quint8")
    theirs = clamp((x.int_repr().astype(np.int64).sum((2, 3)) + 2) // 4)
    assert not np.array_equal(theirs, step.compute({"x": x}, machine).int_repr())
    assert names(step, [x], theirs, machine) == ["half up"]
