"""The list of known arithmetics: complete, each one named by its own numbers, and no other (Find my wrong integer)."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

import qlearn
from known_inputs import inputs, preset
from qlearn import Machine, QTensor
from qlearn.layers import requantize
from qlearn.machine.machine import CAPABILITIES, ENGINES
from qlearn.machine.releases import HISTORY, RELEASES
from qlearn.network import flawed, mistakes
from qlearn.network.arithmetic import Arithmetic
from qlearn.network.mistakes import MISTAKES
from qlearn.network.step import Step
from qlearn.runtimes import known, portable
from qlearn.runtimes.arithmetic import slug

ROWS = 10_000
ACTIVATIONS = ("sigmoid", "tanh", "hardswish", "hardsigmoid", "elu", "leaky_relu")


def drawn(operator, rng, rows, kinds=(0, 1)):
    for dtype in ("quint8", "qint8"):
        for kind in kinds:
            p = preset(operator, rng, dtype, kind)
            yield p, inputs(operator, p, rng, rows)


@pytest.mark.parametrize("operator", known.OPERATORS)
def test_each_arithmetic_is_named_by_its_own_numbers(operator, rng):
    for p, given in drawn(operator, rng, ROWS):
        lanes = known.arithmetics(operator, p)
        numbers = {lane.name: lane.codes(*given) for lane in lanes}
        for lane in lanes:
            explanation = known.explain(operator, p, given, numbers[lane.name])
            alike = [
                name
                for name, codes in numbers.items()
                if np.array_equal(codes, numbers[lane.name], equal_nan=codes.dtype.kind == "f")
            ]
            assert lane.name in explanation.names
            assert list(explanation.names) == alike
            assert set(explanation.names) | set(explanation.differing) == set(numbers)
            assert list(explanation.differing.values()) == sorted(explanation.differing.values())
            for name, count in explanation.differing.items():
                assert count == np.count_nonzero(~(numbers[name] == numbers[lane.name])) > 0


# Names that are one formula on every input, or part on fewer than one in a million of them.
IN_STEPS = ("{}, divided in float32 ({})", "{}, rounded in float64 ({})", "{}, times the inverse ({})")
LAYER = (
    {*(each.format("bias", "fbgemm") for each in IN_STEPS), "divide (qnnpack)", "ONNX Runtime", "LiteRT, XNNPACK"},
    {each.format("bias", "onednn, AVX-512") for each in IN_STEPS},
    {each.format("bias", "onednn, AVX2") for each in IN_STEPS},
    {f"float64, {how} ({where}" for how in ("times 1/s", "divided by s") for where in ("fbgemm)",)}
    | {f"float64, {how}, zero point last (onednn, AVX-512)" for how in ("times 1/s", "divided by s")},
    {f"float64, {how} (onednn, AVX-512)" for how in ("times 1/s", "divided by s")},
    {f"float64, {how} (qnnpack)" for how in ("times 1/s", "divided by s")},
    *({f"half away from zero ({where})", f"half up ({where})"} for where in ("onednn, AVX-512", "onednn, AVX2")),
    *({f"truncation ({where})", f"floor ({where})"} for where in ("onednn, AVX-512", "onednn, AVX2")),
)  # onednn adds the zero point first: what it rounds is positive, or becomes 0
SUM = (
    {"qnnpack", "LiteRT, reference"},  # which part in some sums of 2**20 or more steps
    {"qnnpack, up to 2.12", "LiteRT, XNNPACK"},
    {"tail, 2.13", "zero point (tail)"},
)
PRODUCT = (
    {"divide", "LiteRT, XNNPACK", "every engine, up to 2.12"},
    {"every engine, path and release", "every engine, up to 2.12"},
)
AFTER_RELU = ({"truncation", "floor"}, {"gemmlowp", "LiteRT, reference and optimized"})
TWINS = {
    "quantize": ({"float64, times 1/s", "float64, divided by s"}, {"per channel, 2.13", "zero point"}),
    "dequantize": ({"per tensor", "ONNX Runtime", "LiteRT, reference and XNNPACK"},),
    "add": SUM,
    "add_relu": (
        *SUM,
        {"float64, truncated", "float64, floor"},
        {"float64, ties away from zero", "float64, ties up"},
        *({f"half away from zero ({path})", f"half up ({path})"} for path in ("tail", "vector body")),
        *({f"truncation ({path})", f"floor ({path})"} for path in ("tail", "vector body")),
    ),
    "mul": PRODUCT,
    "mul_relu": (*PRODUCT, *AFTER_RELU),
    "add_scalar": (),
    "mul_scalar": ({"every engine, path and release", "dequantize, multiply, quantize_per_tensor"},),
    "requantize_linear": (*LAYER, {"onednn, AVX-512, 2.15", "divide (onednn, AVX-512)"}),
    "requantize_conv": (*LAYER, {"onednn, without a kernel for the shape", "divide (onednn, AVX-512)"}),
    "avg_pool": (
        {"floor", "Σq // n"},
        {"half up", "(Σq + n // 2) // n"},
        {"qnnpack", "ONNX Runtime, QLinearGlobalAveragePool"},
    ),
    "leaky_relu": (),
    "hardtanh": ({"the bounds divided by the scale", "dequantized, clamped, quantized"},),
}


def parted_somewhere(operator, rng, presets):
    """Pairs of names that were together in a list, and pairs whose numbers differed."""
    met, parted = set(), set()
    for _ in range(presets):
        for p, given in drawn(operator, rng, 4000, (0, 0, 1)):
            numbers = [(lane.name, lane.codes(*given)) for lane in known.arithmetics(operator, p)]
            for (one, a), (other, b) in combinations(numbers, 2):
                met.add((one, other))
                if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                    parted.add((one, other))
    return met, parted


@pytest.mark.parametrize("operator", TWINS)
def test_numbers_tell_each_arithmetic_from_all_but_its_twins(operator):
    """Of the other activations only ties tell, which are rare: their steps are compared one by one elsewhere."""
    met, parted = parted_somewhere(operator, np.random.default_rng(5), 12)
    assert {pair for pair in met - parted if not any(set(pair) <= twins for twins in TWINS[operator])} == set()


@pytest.mark.parametrize("operator", known.OPERATORS)
def test_of_an_unknown_arithmetic_it_says_so(operator, rng):
    for p, given in drawn(operator, rng, ROWS, (0,)):
        right = known.arithmetics(operator, p)[0].codes(*given)
        theirs = right + (np.arange(len(right)) % 3 == 1)
        explanation = known.explain(operator, p, given, theirs)
        assert explanation.names == ()
        assert str(explanation).startswith("given by no known arithmetic; the nearest is ")
        assert all(0 < count <= explanation.rows for count in explanation.differing.values())


# PyTorch's arithmetics are all there

EACH_ARITHMETIC = [  # one release of each, newest first
    next(release for release in reversed(RELEASES) if tuple(change.holds(release) for change in HISTORY) == holds)
    for holds in dict.fromkeys(tuple(change.holds(release) for change in HISTORY) for release in RELEASES)
]


def on_each_path(codes):
    """Codes as a tensor that only bodies compute, that only tails do, and how to read the result."""
    q = np.concatenate([codes, np.zeros(-len(codes) % 128, codes.dtype)])
    return (("body", q), ("tail", np.repeat(codes, 2)[::2]))


@pytest.mark.parametrize("operator", ["add", "add_relu", "mul", "mul_relu", "add_scalar", "mul_scalar"])
def test_every_engine_capability_path_and_release_of_a_sum_is_in_the_list(operator, rng):
    for p, given in drawn(operator, rng, 1024):
        lanes = [lane.codes(*given) for lane in known.arithmetics(operator, p) if lane.kind == "pytorch"]
        kind = np.uint8 if p["dtype"] == "quint8" else np.int8
        asked = 0
        for engine, capability, release in product(ENGINES, CAPABILITIES, EACH_ARITHMETIC):
            machine = Machine(engine, capability, 1, release=release)
            for path in (0, 1):
                tensors = [
                    QTensor(
                        on_each_path(q.astype(kind))[path][1],
                        p.get(f"s{i}", p["s"]),
                        p.get(f"z{i}", p["z"]),
                        p["dtype"],
                    )
                    for i, q in enumerate(given, 1)
                ]
                rest = (p["s"], p["z"]) if len(given) == 2 else (p["c"],)
                try:
                    found = getattr(qlearn, operator)(*tensors, *rest, machine=machine).int_repr()[:1024]
                except (ValueError, NotImplementedError):
                    continue  # refused there
                n = min(len(found), len(given[0]))
                assert any(np.array_equal(found[:n], lane[:n]) for lane in lanes), (p, machine, path)
                asked += 1
        assert asked > 100


@pytest.mark.parametrize("operator", [*ACTIVATIONS, "hardtanh"])
def test_every_engine_capability_path_and_release_of_an_activation_is_in_the_list(operator, rng):
    for p, (codes,) in drawn(operator, rng, 256, (0, 0, 1)):
        lanes = [lane.codes(codes) for lane in known.arithmetics(operator, p) if lane.kind == "pytorch"]
        kind = np.uint8 if p["dtype"] == "quint8" else np.int8
        result = (p["so"], p["zo"]) if "so" in p else ()
        rest = {"elu": (*result, p.get("alpha")), "leaky_relu": (p.get("slope"), *result)}.get(operator, result)
        rest = (p["min"], p["max"]) if operator == "hardtanh" else rest
        for engine, capability, release in product(ENGINES, CAPABILITIES, EACH_ARITHMETIC):
            machine = Machine(engine, capability, 1, release=release)
            bodies = QTensor(codes.astype(kind), p["s"], p["z"], p["dtype"])
            pieces = [QTensor(piece.astype(kind), p["s"], p["z"], p["dtype"]) for piece in np.split(codes, 8)]
            try:
                body = getattr(qlearn, operator)(bodies, *rest, machine=machine).int_repr()
                tail = np.concatenate([getattr(qlearn, operator)(x, *rest, machine=machine).int_repr() for x in pieces])
            except ValueError:
                continue  # qnnpack refuses other results than its own
            for found in (body, tail):
                assert any(np.array_equal(found, lane) for lane in lanes), (p, machine)


@pytest.mark.parametrize("operator", ["requantize_linear", "requantize_conv"])
def test_every_function_that_requantizes_is_in_the_list(operator, rng):
    steps = [
        getattr(requantize, name) for name in requantize.__all__ if name not in ("together", "onednn_linear_scale")
    ]
    assert len(steps) == 9
    for p, (acc,) in drawn(operator, rng, 4000):
        lanes = [lane.codes(acc) for lane in known.arithmetics(operator, p) if lane.kind == "pytorch"]
        w = np.array([p["sw"]] if p["per_channel"] else p["sw"])
        for step in steps:
            linear = (
                operator == "requantize_linear"
                and step.__name__.startswith("onednn")
                and step is not requantize.onednn_2
            )
            scale = requantize.onednn_linear_scale(w) if linear else w
            bias = np.array([p["bias"]], np.float32)
            found = step(acc.astype(np.int32)[:, None], bias, p["sx"], scale, p["s"], p["z"], relu=p["relu"])[:, 0]
            depthwise = step is requantize.fbgemm_depthwise and operator == "requantize_linear"
            assert depthwise or any(np.array_equal(found, lane) for lane in lanes), (p, step.__name__)


# So are the mistakes


def ways_of(steps):
    """Each mistake that can be made there, in each way."""
    for name, (words, ways) in MISTAKES.items():
        for way in ways:
            if all(value in steps.get(key, ()) for key, value in way.items()):
                yield name, words, way


@pytest.mark.parametrize("operator", ["quantize", "add", "add_relu", "mul", "mul_relu"])
def test_every_way_to_make_a_mistake_is_in_the_list(operator, rng):
    for p, given in drawn(operator, rng, 1024):
        kind = np.uint8 if p["dtype"] == "quint8" else np.int8
        lanes = [lane for lane in known.arithmetics(operator, p) if lane.kind == "mistake"]
        settings = {"scale": p["s"], "zero_point": p["z"]} | ({"dtype": p["dtype"]} if operator == "quantize" else {})
        step = Step("theirs", operator, ("a", "b")[: len(given)], settings)
        paths = (
            (given,)
            if operator == "quantize"
            else (
                [
                    QTensor(on_each_path(q.astype(kind))[path][1], p[f"s{i}"], p[f"z{i}"], p["dtype"])
                    for i, q in enumerate(given, 1)
                ]
                for path in (0, 1)
            )
        )
        for tensors in paths:
            compute, steps = flawed.of(step, tensors, Machine("fbgemm", "AVX2", 1))
            for name, words, way in ways_of(steps):
                with np.errstate(all="ignore"):
                    made = compute(replace(Arithmetic(), **way))[: len(given[0])]
                alike = [
                    lane for lane in lanes if lane.name.startswith(name) and np.array_equal(made, lane.codes(*given))
                ]
                assert alike, (p, name, way)
                assert alike[0].words == words


@pytest.mark.parametrize("machine", [
    Machine("fbgemm", "AVX2", 1), Machine("qnnpack", "AVX2", 1), Machine("onednn", "AVX512", 1),
    Machine("onednn", "AVX2", 1, vnni=False),
], ids=lambda machine: f"{machine.engine} {machine.capability}")  # fmt: skip
@pytest.mark.parametrize("relu", ["", "_relu"])
def test_every_way_to_make_a_mistake_in_a_linear_layer_is_in_the_list(machine, relu, rng):
    for per_channel in (False, True):
        x = rng.integers(0, 128, (400, 16)).astype(np.uint8)  # seven bits: nothing saturates
        w = rng.integers(-63, 64, (1, 16)).astype(np.int8)
        p = preset("requantize_linear", rng, "quint8", 0) | {"per_channel": per_channel, "relu": bool(relu), "z": 60}
        acc = known.accumulators(x, w, 7)[:, 0]
        p["s"] = float(2.0 ** np.round(np.log2(np.abs(acc).max() * p["sx"] * p["sw"] / 128)))
        p["bias"] = 3.4 * p["s"]
        weight = QTensor(w, [p["sw"]], [0], "qint8", 0) if per_channel else QTensor(w, p["sw"], 0, "qint8")
        bias = np.array([p["bias"]], np.float32)
        step = Step(
            "theirs", f"linear{relu}", ("x",), {"weight": weight, "bias": bias, "scale": p["s"], "zero_point": p["z"]}
        )
        compute, steps = flawed.of(step, [QTensor(x, p["sx"], 7, "quint8")], machine)
        lanes = [lane for lane in known.arithmetics("requantize_linear", p) if lane.kind == "mistake"]
        counted = 0
        for name, words, way in ways_of(steps):
            if "saturation" in way:
                continue  # of the accumulator: known.accumulators
            made = compute(replace(Arithmetic(), **way))[:, 0]
            alike = [lane for lane in lanes if lane.name.startswith(name) and np.array_equal(made, lane.codes(acc))]
            assert alike, (p, name, way)
            assert alike[0].words == words
            counted += 1
        assert counted >= 14


def test_the_float64_of_an_activation_is_that_of_the_mistakes(rng):
    """With an exponential of its own, whose bits are the same everywhere."""
    x = np.concatenate([rng.normal(0, 20, 50_000), rng.uniform(-700, 700, 50_000), [0.0]])
    assert np.abs(portable.exp(x) / np.exp(x) - 1).max() < 4e-16 * 4
    for operator in ACTIVATIONS:
        for p, (codes,) in drawn(operator, rng, 256):
            kind = np.uint8 if p["dtype"] == "quint8" else np.int8
            settings = {"scale": p.get("so"), "zero_point": p.get("zo")} if "so" in p else {}
            settings |= (
                {"alpha": p["alpha"]}
                if operator == "elu"
                else {"negative_slope": p["slope"]}
                if operator == "leaky_relu"
                else {}
            )
            step = Step("theirs", operator, ("x",), settings)
            x = QTensor(codes.astype(kind), p["s"], p["z"], p["dtype"])
            for name in ("float64", "truncation", "floor", "half away from zero", "half up"):
                theirs = mistakes.with_mistake(step, [x], name)
                (lane,) = [lane for lane in known.arithmetics(operator, p) if lane.name == name]
                real = np.abs((codes - p["z"]) * p["s"])
                surely = ~(
                    (operator == "tanh") & (real > 18) & (real < 20)
                )  # there NumPy's may be 1 or the number below
                np.testing.assert_array_equal(
                    lane.codes(codes)[surely], theirs[surely], err_msg=f"{operator} {p} {name}"
                )


# Accumulators


@pytest.mark.parametrize("features", [1, 2, 7, 64, 257, 259, 300, 513, 766, 767, 768])
def test_accumulators_are_those_of_a_linear_layer(features, rng):
    x = rng.integers(0, 256, (5, features)).astype(np.uint8)
    w = rng.integers(-128, 128, (4, features)).astype(np.int8)
    z = int(rng.integers(0, 256))
    exact = (x.astype(int) - z) @ w.astype(int).T
    np.testing.assert_array_equal(known.accumulators(x, w, z), exact)
    for pairs, engine in (("fbgemm", "fbgemm"), ("onednn", "onednn")):
        acc = known.accumulators(x, w, z, pairs=pairs)
        s = float(2.0 ** np.ceil(np.log2(np.abs(acc).max() / 100 + 1)))
        machine = Machine(engine, "AVX2", 1, vnni=False)
        right = qlearn.linear(QTensor(x, 1.0, z, "quint8"), QTensor(w, 1.0, 0, "qint8"), None, s, 128, machine=machine)
        np.testing.assert_array_equal(right.int_repr(), np.clip(np.rint(acc / s) + 128, 0, 255))
        assert features < 64 or not np.array_equal(acc, exact)


# What is refused


@pytest.mark.parametrize(("change", "said"), [
    ({"s1": 0.0}, "s1 must be from 2^-126 to 2^126, a normal float32 whose inverse is one, got 0.0"),
    ({"s": float("nan")}, "s must be from 2^-126 to 2^126, a normal float32 whose inverse is one, got nan"),
    ({"z2": 256}, "z2 must be a whole number from 0 to 255, as quint8 is, got 256"),
    ({"z": 1.5}, "z must be a whole number from 0 to 255, as quint8 is, got 1.5"),
    ({"dtype": "qint32"}, "dtype must be quint8 or qint8, got qint32"),
    ({"s1": 2.0**20, "s": 1.0}, "s1 / s must be from 2^-24 to below 2^20, got 1048576.0"),
])  # fmt: skip
def test_parameters_out_of_range_are_refused_by_name(change, said):
    p = {"s1": 0.5, "z1": 0, "s2": 0.5, "z2": 3, "s": 1.0, "z": 1, "dtype": "quint8"}
    assert known.refuses("add", p) is None
    assert known.refuses("add", p | change) == said
    with pytest.raises(ValueError, match=said.split(",")[0].replace("^", ".")):
        known.arithmetics("add", p | change)


def test_what_explain_does_not_take(rng):
    p = {"s1": 0.5, "z1": 0, "s2": 0.5, "z2": 3, "s": 1.0, "z": 1, "dtype": "quint8"}
    with pytest.raises(ValueError, match="operator must be one of quantize, "):
        known.explain("concat", p, [[1]], [1])
    with pytest.raises(ValueError, match="inputs of add must be q1, q2, got 1 of them"):
        known.explain("add", p, [[1]], [1])
    with pytest.raises(ValueError, match="inputs and theirs must have one length"):
        known.explain("add", p, [[1, 2], [1]], [1, 2])
    with pytest.raises(TypeError, match="q1 of add must be integers, got float64"):
        known.explain("add", p, [[1.5], [1]], [1])
    with pytest.raises(ValueError, match="dtype is missing"):
        known.explain("add", {k: v for k, v in p.items() if k != "dtype"}, [[1], [1]], [1])
    pool = {"s": 0.5, "z": 0, "kh": 2, "kw": 2, "dtype": "quint8"}
    with pytest.raises(ValueError, match=r"window must have kh \* kw = 4 codes"):
        known.explain("avg_pool", pool, [[[1, 2, 3]]], [1])
    with pytest.raises(ValueError, match='pairs must be "", "fbgemm" or "onednn"'):
        known.accumulators([[1]], [[1]], 0, pairs="x86")
    with pytest.raises(ValueError, match="x and w must have rows of one length"):
        known.accumulators([[1, 2]], [[1]], 0)


def test_names_become_parts_of_a_url():
    assert slug("q₁ + q₂, wrapped to 8 bits") == "q1-plus-q2-wrapped-to-8-bits"
