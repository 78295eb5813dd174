"""The cheat sheet: every line of NumPy and of C on it, executed as it is printed, gives PyTorch's integers.

A case is what some lines are called with, one after the other, and what PyTorch answered (a recording), or qlearn does
(drawn inputs: scales near relations that give ties, all pairs of codes, edges of the clamp).
"""

import contextlib
import html
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import drawing
import frozen
import oracle
import qlearn
import sheet
from book import HTML
from executed import NUMPY, Array, C, Case, Steps, differing, runner
from qlearn import Machine, QTensor, recordings
from qlearn.layers import accumulate, requantize
from qlearn.machine.machine import ENGINES
from qlearn.machine.releases import ONEDNN_DIVIDES, ONEDNN_SCALES_IN_ONE, ONEDNN_SCALES_TOGETHER, ZERO_POINT_FIRST
from recorded import Source, sources
from recorders import pooling

EVERY_PAIR = [np.arange(256, dtype=np.uint8).repeat(256), np.tile(np.arange(256, dtype=np.uint8), 256)]
EVERY_CODE = np.arange(256, dtype=np.uint8)
ARGUMENTS = {"hardswish": ("s", "z"), "hardsigmoid": (), "leaky_relu": ("a", "s", "z")}


def one(key: str, values: Mapping[str, Any], expected: Any, machine: Machine, **more: Any) -> Case:
    """A case of a single line."""
    return Case(((key, "q"),), values, np.asarray(expected), machine, **more)


# What PyTorch answered


def paths(source: Source) -> tuple[tuple[str, str], ...]:
    """Which of its answers are for which of the sheet's lines: the path in the recording, and on the sheet."""
    return ("body", "default" if source.kind == "default" else "body"), ("tail", "tail")


def recorded_pairs() -> Iterator[Case]:
    """All sums and products of two codes, in every release."""
    qa, qb = EVERY_PAIR
    for source in sources("elementwise"):
        r, machine = source.arrays, source.machine()
        for name, presets in (("add", "presets"), ("add_relu", "presets"), ("mul", "products"), ("qnnpack", "qnnpack")):
            for i, ((sa, za), (sb, zb), (s, z)) in enumerate(r[presets]):
                values = {"qa": qa, "qb": qb, "sa": sa, "za": za, "sb": sb, "zb": zb, "s": s, "z": z}
                if name == "qnnpack":
                    yield one("add_qnnpack", values, r[f"qnnpack/{i}"].ravel(), machine)
                    continue
                for there, path in paths(source):
                    first = ("mul" if name == "mul" else f"add_{path}"), "q"
                    steps = (first, ("relu", "q")) if name == "add_relu" else (first,)
                    yield Case(steps, values, r[f"{name}/{i}/{there}"].ravel(), machine)


def recorded_singles() -> Iterator[Case]:
    """Every code: scalars and cat in every release, activations in those that were asked."""
    for source in sources("elementwise"):
        r, machine = source.arrays, source.machine()
        for i, ((sx, zx), (s, z)) in enumerate(r["cats"]):
            values = {"q": EVERY_CODE, "sx": sx, "zx": zx, "s": s, "z": z}
            body = "cat_contiguous" if source.kind == "default" else "cat_body"
            for key, there in ((body, "body"), ("cat_tail", "tail"), ("cat_contiguous", "contiguous")):
                if machine.wider == 1 or there != "body":  # else a kernel for AVX-512 that nobody compared
                    yield one(key, values, r[f"cat/{i}/{there}"], machine)
        for i, (s, z, c) in enumerate(r["scalars"]):
            about = {"q": EVERY_CODE, "zx": z, "sx": s, "c": c}
            yield one("add_scalar", about, r[f"add_scalar/{i}"], machine)
            yield one("mul_scalar", about, r[f"mul_scalar/{i}"], machine)
    for source in sources("activations"):
        r, machine = source.arrays, source.machine()
        for name in ("clamp", "hardswish", "hardsigmoid", "leaky_relu"):
            for i, (dtype, sx, zx, *args) in enumerate(r[f"cases/{name}"]):
                if dtype:
                    continue
                common = {"q": EVERY_CODE, "sx": sx, "zx": zx}
                for there, path in paths(source):
                    expected = r[f"{name}/{i}/{there}"]
                    if name == "clamp":
                        bounds = {"low": args[0], "high": args[1], "s": sx, "z": zx}
                        yield one("clamp", common | bounds, expected, machine)
                    elif path != "default" or not machine.has(ZERO_POINT_FIRST):
                        to = dict(zip(ARGUMENTS[name], args, strict=True))
                        yield one(f"{name}_{path.replace('default', 'tail')}", common | to, expected, machine)
                if name in ("hardswish", "hardsigmoid"):
                    key = "hardswish_qnnpack" if name == "hardswish" else "hardsigmoid_tail"
                    to = dict(zip(ARGUMENTS[name], args, strict=True))
                    yield one(key, common | to, r[f"qnnpack/{name}/{i}"], machine)


def recorded_codes() -> Iterator[Case]:
    """Real numbers to codes, near ties and far beyond the codes, and back, in every release."""
    for source in sources("rounding"):
        r, machine = source.arrays, source.machine()
        for i, (s, z) in enumerate(r["presets"]):
            values = {"x": r[f"ties/{i}/x"], "s": s, "z": z}
            yield one("quantize", values, r[f"ties/{i}/tensor"], machine)
            yield one("quantize_channel", values, r[f"ties/{i}/channel"], machine)
    for source in sources("affine"):
        r, machine = source.arrays, source.machine()
        for i, (s, z, dtype) in enumerate(r["presets"]):
            kind = "qint8" if dtype else "quint8"
            values = {"x": r[f"sweep/{i}/x"], "q": r[f"codes/{i}/q"], "s": s, "z": z}
            yield one("quantize", values, r[f"sweep/{i}/q"], machine, dtype=kind)
            yield one("dequantize", values, r[f"codes/{i}/x"], machine, dtype=kind)
        scales, zeros = (r[f"channels/{name}"][:, None] for name in ("scales", "zero_points"))
        values = {"x": r["channels/x"], "q": r["channels/q"], "s": scales, "z": zeros}
        yield one("quantize_channel", values, r["channels/q"], machine)
        yield one("dequantize_channel", values, r["channels/real"], machine)


def steps_of(machine: Machine, *, channel: bool, relu: bool, layer: str = "linear") -> Steps:
    """The sheet's lines from the accumulator to the code."""
    engine, rectified = machine.engine, ((("relu", "q"),) if relu else ())
    if engine == "x86":
        engine = "onednn" if layer != "linear" and machine.vnni else "fbgemm"
    if engine != "onednn":
        key = "qnnpack" if engine == "qnnpack" else "fbgemm_channel" if channel else "fbgemm"
        if engine == "fbgemm" and layer == "depthwise" and not channel and machine.release in ("2.14", "2.15"):
            key = "fbgemm_depthwise"
        return (key, "q"), *rectified
    if machine.has(ONEDNN_SCALES_IN_ONE):
        return ("onednn_2", "q"), *rectified
    first = (("onednn_w_channel" if channel else "onednn_w", "w"),) if layer == "linear" else ()
    together = machine.has(ONEDNN_SCALES_TOGETHER) or not machine.avx512
    real = (("onednn_avx2" if together else "onednn_avx512", "y"),)
    divided = machine.has(ONEDNN_DIVIDES) and layer == "linear" and machine.avx512
    return (*first, *real, ("onednn_divided" if divided else "onednn_code", "q"), *rectified)


def recorded_layers() -> Iterator[Case]:
    """Linear layers of every release and engine, and convolutions of two releases: from exact sums."""
    for release in recordings.releases("layers"):
        for case in linear_of(release):
            if case.steps[0][0] != "onednn_2" or not np.ndim(case.values["sw"]):  # told in words: test_words
                yield case
    yield from recorded_convolutions()


def linear_of(release: str) -> Iterator[Case]:
    """The linear layers of one release."""
    r = recordings.load("layers", release)
    for (kind, about), name, engine in product(
        recordings.sources("layers", release).items(), ("linear", "linear_relu"), ENGINES
    ):
        if f"{kind}/{engine}/{name}/answers" not in r:
            continue
        layers, answers = (
            frozen.thaw((r[f"{kind}/{start}/{name}/data"], r[f"{kind}/{start}/{name}/{what}"]))
            for start, what in (("inputs", "cases"), (engine, "answers"))
        )
        machine = Machine(engine, about["capability"], 1, about["vnni"], release)
        for layer, answer in zip(layers, answers, strict=True):
            saturating = not machine.vnni and engine != "qnnpack" and layer.x.max(initial=0) > 127  # test_pairs
            if not isinstance(answer, str) and not saturating:
                yield from of_linear(layer, answer.values, machine, relu=name.endswith("relu"))


def of_linear(layer: Any, expected: Array, machine: Machine, *, relu: bool) -> Iterator[Case]:
    """One linear layer."""
    channel = np.ndim(layer.w_scale) > 0
    steps = steps_of(machine, channel=channel, relu=relu)
    w = layer.weight.astype(int) - np.asarray(layer.w_zero_point).reshape(-1, 1)
    acc = (layer.x.astype(int) - layer.x_zero_point) @ w.T
    bias = np.zeros(len(w), np.float32) if layer.bias is None else layer.bias
    values = {"acc": acc, "b": bias, "sx": layer.x_scale, "sw": layer.w_scale, "s": layer.scale, "z": layer.zero_point}
    with np.errstate(invalid="ignore"):
        ordinary = np.abs(acc * layer.x_scale * np.asarray(layer.w_scale) + bias) < 2**30 * layer.scale
    if not ordinary.all():
        return
    yield Case(steps, values, expected, machine)


def recorded_convolutions() -> Iterator[Case]:
    """Those whose sums are exact: of codes of 7 bits."""
    for source in sources("conv"):
        r = source.arrays
        sx, zx, sw, z = r["parameters"]
        for engine, shape in product(ENGINES, ("dense", "strided", "pointwise", "depthwise", "grouped")):
            if f"{engine}/{shape}/7/tensor" not in r:
                continue
            acc = sums(
                r[f"{shape}/x/7"].astype(int) - int(zx), r[f"{shape}/weight"].astype(int), *r[f"{shape}/geometry"]
            )
            for weight in ("tensor", "channel", "relu"):
                layer = "depthwise" if shape == "depthwise" else "convolution"
                machine = source.machine(engine)
                steps = steps_of(machine, channel=weight != "tensor", relu=weight == "relu", layer=layer)
                each = (r[f"{shape}/factors"] * sw if weight != "tensor" else np.float64(sw)).reshape(-1, 1, 1)
                values = {
                    "acc": acc,
                    "b": r[f"{shape}/bias"][:, None, None],
                    "sx": sx,
                    "z": z,
                    "s": r[f"{shape}/scale"],
                }
                values |= {"sw": each, "w": each.astype(np.float32)}
                yield Case(steps, values, r[f"{engine}/{shape}/7/{weight}"], machine)


def sums(x: Array, w: Array, stride: int, padding: int, dilation: int, groups: int) -> Array:
    """A convolution of integers, by its definition: (N, C, H, W), (M, C / groups, kH, kW) -> (N, M, H_out, W_out)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, [(k - 1) * dilation + 1 for k in w.shape[2:]], axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]  # (N, C, H_out, W_out, kH, kW)
    parts = zip(np.split(windows, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwij,mcij->nmhw", *pair) for pair in parts], axis=1)


def recorded_averages() -> Iterator[Case]:
    """Pools without padding, in two memory formats."""
    for source in sources("pooling"):
        r, machine, eights = source.arrays, source.machine(), {"default": 0, "avx2": 24, "avx512": 16}[source.kind]
        x = r["x"].astype(int)
        for engine, layout, z in product(pooling.ENGINES, pooling.LAYOUTS, pooling.ZERO_POINTS):
            answers, at = r[f"{engine}/{layout}/{z}"], 0
            for name, args in pooling.CALLS:
                tensor = QTensor(r["x"], pooling.SCALE, z, "quint8")
                shape = getattr(qlearn, name)(tensor, *args).shape
                out = answers[at : at + int(np.prod(shape))].reshape(shape)
                at += out.size
                kernel = {"((2, 3), (2, 3), 0, False, True, None)": (2, 3), "((6, 4),)": (2, 3), "(1,)": (12, 12)}.get(
                    str(args)
                )
                if kernel is None:
                    continue
                windows = x.reshape(1, 25, 12 // kernel[0], kernel[0], 12 // kernel[1], kernel[1])
                codes = windows.sum((3, 5))
                n = kernel[0] * kernel[1]
                values = {"S": codes - n * z, "n": n, "s": pooling.SCALE, "z": z, "kh": kernel[0], "kw": kernel[1]}
                adaptive = name.startswith("adaptive")
                if engine == "qnnpack":
                    yield one("avg_qnnpack", values, out, machine)
                elif layout == "contiguous" and adaptive:
                    yield one("adaptive_contiguous", values | {"S": codes}, out, machine)
                elif layout == "contiguous":
                    yield one("avg_contiguous", values, out, machine)
                else:
                    whole = (0 if source.kind == "default" else 24) if adaptive else eights
                    body, left = {**values, "S": values["S"][:, :whole]}, {**values, "S": values["S"][:, whole:]}
                    yield one("adaptive_vector" if adaptive else "avg_vector", body, out[:, :whole], machine)
                    yield one("avg_left", left, out[:, whole:], machine)

        values = {"n": 6, "s": pooling.SCALE, "z": 128}
        hard = (r["hard"].astype(int) - 128).reshape(1, 25, 2, 2, 4, 3).sum((3, 5))
        body = 0 if source.kind == "default" else 24
        yield one("adaptive_vector", values | {"S": hard[:, :body]}, r["hard/out"][:, :body], machine)
        yield one("avg_left", values | {"S": hard[:, body:]}, r["hard/out"][:, body:], machine)
        board = r["board"].astype(int).reshape(1, 9, 2, 7, 2, 10).sum((3, 5))
        yield one("adaptive_contiguous", {"S": board, "kh": 7, "kw": 10}, r["board/out"], machine)


# What qlearn says to drawn inputs


def machine_of(rng: np.random.Generator, engine: str = "fbgemm", capability: str = "AVX2", **more: Any) -> Machine:
    """Of the book's release, of the one that adds the zero point first, or of another."""
    return Machine(engine, capability, 1, release=str(rng.choice(["1.13", "2.7", "2.13", "2.14", "2.15"])), **more)


def drawn_pairs(rng: np.random.Generator) -> Iterator[Case]:
    """All pairs of codes, with new scales."""
    for _ in range(4):
        for key, relu in product(("add_body", "add_tail", "add_default", "mul", "add_qnnpack"), ("", "_relu")):
            dtype = str(rng.choice(["quint8", "qint8"])) if key != "add_qnnpack" else "quint8"
            (sa, sb, s), (za, zb, z) = drawing.scales(rng, 3), (drawing.zero_point(rng, dtype) for _ in "abo")
            if key == "mul":
                s = sa * sb * float(2.0 ** rng.integers(-2, 12))
            if key == "add_qnnpack":
                s = max(sa, sb) * float(rng.choice([0.3, 1, 2, 2.0**9, rng.uniform(0.01, 100)]))
                sa, sb, z = max(sa, s * 2.0**-14), max(sb, s * 2.0**-14), min(z, 254)
            capability = {"add_default": "DEFAULT"}.get(key, "AVX2")
            machine = machine_of(rng, "qnnpack" if key == "add_qnnpack" else "fbgemm", capability)
            if dtype == "qint8" and key == "mul":
                machine = Machine("fbgemm", "AVX2", 1)  # earlier it is XNNPACK's
            a, b = (codes.view(np.int8) if dtype == "qint8" else codes for codes in EVERY_PAIR)
            if key == "add_tail":
                a, b = np.repeat(a, 2)[::2], np.repeat(b, 2)[::2]
            pair = QTensor(a, sa, za, dtype), QTensor(b, sb, zb, dtype)
            theirs = getattr(qlearn, key[:3] + relu)(*pair, s, z, machine=machine).int_repr()
            values = {"qa": a, "qb": b, "sa": sa, "za": za, "sb": sb, "zb": zb, "s": s, "z": z}
            steps = ((key, "q"), ("relu", "q")) if relu else ((key, "q"),)
            yield Case(steps, values, theirs, machine, recorded=False, dtype=dtype)


def drawn_singles(rng: np.random.Generator) -> Iterator[Case]:
    """Every code, with new scales."""

    def case(key: str, values: Mapping[str, Any], theirs: QTensor, machine: Machine) -> Case:
        return one(key, {"q": EVERY_CODE} | dict(values), theirs.int_repr().ravel(), machine, recorded=False)

    for _ in range(30):
        (sx, s), (zx, z) = drawing.scales(rng, 2), (drawing.zero_point(rng, "quint8") for _ in "xo")
        machine = machine_of(rng)
        x = QTensor(EVERY_CODE, sx, zx, "quint8")
        to = {"sx": sx, "zx": zx, "s": s, "z": z}
        c = float(rng.choice([0, 1, -1, rng.uniform(-400, 400)]) * sx)
        yield case("add_scalar", to | {"c": c}, qlearn.add_scalar(x, c, machine=machine), machine)
        if c:
            yield case("mul_scalar", to | {"c": c}, qlearn.mul_scalar(x, c, machine=machine), machine)
        yield case("relu", to | {"z": zx}, qlearn.relu(x, machine=machine), machine)
        low, high = np.sort(rng.integers(-10, 270, 2) + 0.5 - zx) * sx
        own = {"s": sx, "z": zx, "low": low, "high": high}
        yield case("clamp", own, qlearn.clamp(x, low, high, machine=machine), machine)
        if (sx, zx) != (s, z):
            last = np.moveaxis(np.repeat(EVERY_CODE, 9).reshape(256, 1, 1, 9), -1, 1)
            joined = qlearn.cat([QTensor(last, sx, zx, "quint8")], s, z, 1, machine=machine).int_repr()
            for key, codes in (("cat_body", joined[:, 0]), ("cat_tail", joined[:, 8])):
                yield one(key, {"q": EVERY_CODE} | to, codes.ravel(), machine, recorded=False)
        yield case("cat_contiguous", to, qlearn.cat([x], s, z, 0, machine=machine), machine)
        on = machine_of(rng, "qnnpack")
        near = float((np.float32(27 / 256).view(np.int32) + rng.integers(-4, 5, dtype=np.int32)).view(np.float32))
        tied = QTensor(EVERY_CODE, near, zx, "quint8")  # a third of its results lie near ties
        own = {"sx": near, "zx": zx}
        yield case("hardsigmoid_body", own, qlearn.hardsigmoid(tied, machine=machine), machine)
        yield case("hardsigmoid_tail", own, qlearn.hardsigmoid(tied, machine=on), on)
        slope = float(rng.choice([0.01, 0.1, rng.uniform(-1, 2)]))
        yield case("hardswish_body", to, qlearn.hardswish(x, s, z, machine=machine), machine)
        codes = [qlearn.hardswish(part, s, z, machine=machine).int_repr() for part in few(x)]
        yield one("hardswish_tail", {"q": EVERY_CODE} | to, np.concatenate(codes), machine, recorded=False)
        yield case("hardswish_qnnpack", to, qlearn.hardswish(x, s, z, machine=on), on)
        rectified = qlearn.leaky_relu(x, slope, s, z, machine=machine)
        yield case("leaky_relu_body", to | {"a": slope}, rectified, machine)
        codes = [qlearn.leaky_relu(part, slope, s, z, machine=machine).int_repr() for part in few(x)]
        values = {"q": EVERY_CODE, "a": slope} | to
        yield one("leaky_relu_tail", values, np.concatenate(codes), machine, recorded=False)


def few(x: QTensor) -> list[QTensor]:
    """Fewer elements at once than a block has."""
    codes = x.int_repr()
    return [QTensor(codes[i : i + 63], x.q_scale(), x.q_zero_point(), x.dtype) for i in range(0, codes.size, 63)]


def drawn_codes(rng: np.random.Generator) -> Iterator[Case]:
    """Real numbers near ties and edges, and every code."""
    for _ in range(20):
        dtype, machine = str(rng.choice(["quint8", "qint8"])), machine_of(rng)
        (s,), z = drawing.scales(rng, 1), drawing.zero_point(rng, dtype)
        info = np.iinfo(np.int8 if dtype == "qint8" else np.uint8)
        near = ((rng.integers(info.min - 9, info.max + 10, 4000) + 0.5 - z) * s).astype(np.float32)
        x = (near.view(np.int32) + rng.integers(-3, 4, 4000, dtype=np.int32)).view(np.float32)
        x = np.concatenate(
            [x, rng.normal(0, 1000 * s, 500).astype(np.float32), np.float32([0, 2**29 * s, -(2**29) * s])]
        )
        values = {"x": x, "q": np.arange(info.min, info.max + 1), "s": s, "z": z}
        tensor = qlearn.quantize_per_tensor(x, s, z, dtype, machine=machine)
        channel = qlearn.quantize_per_channel(x[None], [s], [z], 0, dtype, machine=machine)
        codes = values["q"].astype(info.dtype)
        yield one("quantize", values, tensor.int_repr(), machine, recorded=False, dtype=dtype)
        yield one("quantize_channel", values, channel.int_repr()[0], machine, recorded=False, dtype=dtype)
        yield one("dequantize", values, QTensor(codes, s, z, dtype).dequantize(), machine, recorded=False)
        real = QTensor(codes[None], [s], [z], dtype, 0).dequantize()[0]
        yield one("dequantize_channel", values, real, machine, recorded=False)


def drawn_layers(rng: np.random.Generator) -> Iterator[Case]:
    """Accumulators and biases, with scales that bring many near a tie."""
    machine = Machine("onednn", "AVX2", 1)
    for _ in range(12):
        for name, keys in (
            ("fbgemm", ("fbgemm",)),
            ("fbgemm", ("fbgemm_channel",)),
            ("fbgemm_depthwise", ("fbgemm_depthwise",)),
            ("qnnpack", ("qnnpack",)),
            ("onednn_vnni", ("onednn_w", "onednn_avx512", "onednn_code")),
            ("onednn_vnni", ("onednn_w_channel", "onednn_avx512", "onednn_code")),
            ("onednn_avx2", ("onednn_w", "onednn_avx2", "onednn_code")),
            ("onednn_divided", ("onednn_w", "onednn_avx512", "onednn_divided")),
            ("onednn_2", ("onednn_2",)),
        ):
            channel = any(key.endswith("channel") for key in keys)
            sx, sw = drawing.scales(rng, 2) if rng.random() < 0.5 else (in_doubt(rng), in_doubt(rng))
            each = sw * 2.0 ** rng.integers(-1, 2, 8) if channel else np.array(sw)
            ratio = float(rng.choice([1, 2, 8, 32, 100, rng.uniform(5, 300)]))
            s, z = sx * sw * ratio, int(rng.integers(256))
            acc = rng.integers(-int(150 * ratio), int(150 * ratio) + 1, (3000, 8))
            bias = (rng.choice([0.5, 1, rng.random()]) * rng.integers(-3000, 3000, 8) * sx * each).astype(np.float32)
            relu = bool(rng.integers(2))
            scale = requantize.onednn_linear_scale(each) if keys[0].startswith("onednn_w") else each
            theirs = getattr(requantize, name)(acc, bias, sx, scale, s, z, relu=relu)
            steps = tuple((key, {"onednn_w": "w", "onednn_a": "y"}.get(key[:8], "q")) for key in keys)
            steps += (("relu", "q"),) if relu else ()
            values = {"acc": acc, "b": bias, "sx": sx, "sw": each, "s": s, "z": z}
            yield Case(steps, values, theirs, machine, recorded=False)
    x0, x1 = rng.integers(0, 256, (2, 40_000))
    w0, w1 = rng.choice([-128, -127, 127, rng.integers(-128, 128)], (2, 40_000))
    pairs = np.stack([x0, x1], axis=1)[:, None], np.stack([w0, w1], axis=1)[..., None]
    saturated = x0 * w0 + x1 * w1 - accumulate.saturation_loss(*pairs).ravel()
    yield one("pair", {"x0": x0, "x1": x1, "w0": w0, "w1": w1}, saturated, machine, recorded=False)


def in_doubt(rng: np.random.Generator) -> float:
    """A scale whose inverse is another float32 where it is rounded before it is inverted, and where both are."""
    while True:
        scale = 10 ** rng.uniform(-3, 0)
        once, twice = np.float32(1 / scale), np.float32(1) / np.float32(scale)
        if once != twice and np.float32(1) / once != np.float32(1) / twice:
            return float(scale)


def drawn_averages(rng: np.random.Generator) -> Iterator[Case]:
    """Windows of many sizes."""
    for _ in range(12):
        kh, kw = (int(k) for k in rng.integers(2, 9, 2))
        (s,), z, n = drawing.scales(rng, 1), drawing.zero_point(rng, "quint8"), kh * kw
        codes = rng.integers(0, 256, (1, 25, 6 * kh, 6 * kw), dtype=np.uint8)
        whole = codes.astype(int).reshape(1, 25, 6, kh, 6, kw).sum((3, 5))
        values = {"S": whole - n * z, "n": n, "s": s, "z": z, "kh": kh, "kw": kw}
        machine, on = machine_of(rng), machine_of(rng, "qnnpack")
        last = QTensor(np.moveaxis(np.ascontiguousarray(np.moveaxis(codes, 1, -1)), -1, 1), s, z, "quint8")
        first = QTensor(codes, s, z, "quint8")
        average = qlearn.avg_pool2d(last, (kh, kw), machine=machine).int_repr()
        adaptive = qlearn.adaptive_avg_pool2d(last, 6, machine=machine).int_repr()
        body, left = values | {"S": values["S"][:, :24]}, values | {"S": values["S"][:, 24:]}
        for key, some, theirs, whose in (
            ("avg_vector", body, average[:, :24], machine),
            ("avg_left", left, average[:, 24:], machine),
            ("adaptive_vector", body, adaptive[:, :24], machine),
            ("avg_left", left, adaptive[:, 24:], machine),
            ("avg_contiguous", values, qlearn.avg_pool2d(first, (kh, kw), machine=machine).int_repr(), machine),
            ("avg_qnnpack", values, qlearn.avg_pool2d(last, (kh, kw), machine=on).int_repr(), on),
            (
                "adaptive_contiguous",
                values | {"S": whole},
                qlearn.adaptive_avg_pool2d(first, 6, machine=machine).int_repr(),
                machine,
            ),
        ):
            yield one(key, some, theirs, whose, recorded=False)


RECORDED = (recorded_codes, recorded_pairs, recorded_singles, recorded_layers, recorded_averages)
DRAWN = (drawn_codes, drawn_pairs, drawn_singles, drawn_layers, drawn_averages)
LANGUAGES = pytest.mark.parametrize("language", [NUMPY, C], ids=["NumPy", "C"])


@LANGUAGES
@pytest.mark.parametrize("of", RECORDED, ids=lambda of: of.__name__)
def test_every_line_gives_what_pytorch_recorded(of: Callable[[], Iterator[Case]], language: int) -> None:
    for case in of():
        differ, words = differing(case, runner(language, case.machine.release, case.dtype))
        name = f"cheat sheet, {('NumPy', 'C')[language]}"
        oracle.COMPARED[name] += case.expected.size
        oracle.DIFFERING[name] += differ
        assert not differ, words


@LANGUAGES
@pytest.mark.parametrize("of", DRAWN, ids=lambda of: of.__name__)
def test_every_line_gives_what_qlearn_does(
    of: Callable[[np.random.Generator], Iterator[Case]], language: int, rng: np.random.Generator
) -> None:
    for case in of(rng):
        differ, words = differing(case, runner(language, case.machine.release, case.dtype))
        assert not differ, words


@cache
def by_key() -> dict[str, list[Case]]:
    """The cases that execute each line: recorded ones of four releases, and some drawn."""
    rng, found = np.random.default_rng(8), {}
    for case in [*(case for of in DRAWN for case in of(rng)), *(case for of in RECORDED for case in of())]:
        if case.expected.size and (not case.recorded or case.machine.release in ("2.0", "2.13", "2.14", "2.15")):
            for step, _ in case.steps:
                found.setdefault(step, []).append(case)
    return found


def wrong(key: str, language: int, *lines: sheet.Line, steps: tuple[str, str] = ("", "")) -> bool:
    """Whether some case tells these from the sheet's."""
    runs = ((case, runner(language, case.machine.release, case.dtype, *lines, steps=steps)) for case in by_key()[key])
    return any(differing(case, run)[0] for case, run in runs)


def test_every_line_is_executed() -> None:
    """On recordings, but for ``pair``, whose are those of test_pairs; and on drawn inputs."""
    rng = np.random.default_rng(1)
    recorded = {step for of in RECORDED for case in of() if case.expected.size for step, _ in case.steps}
    drawn = {step for of in DRAWN for case in of(rng) if case.expected.size for step, _ in case.steps}
    assert recorded == sheet.lines().keys() - {"pair"} and drawn == sheet.lines().keys()


@LANGUAGES
def test_pairs(language: int) -> None:
    """On a CPU without VNNI the accumulator is the sum of the line ``pair`` over all pairs, less zx * sum(w)."""
    (source,) = (s for s in sources("linear") if (s.kind, s.release) == ("without_vnni", "2.14.1"))
    r, run, moved = source.arrays, runner(language, "2.14", "quint8"), 0
    for engine, i in product(("fbgemm", "onednn"), range(len(r["presets"]))):
        sx, zx, sw, s, z = r["presets"][i]
        x, w = (np.pad(a.astype(int), ((0, 0), (0, 1))) for a in (r["x/8"], r["weight"]))  # 9 features: 5 pairs
        pairs = {"x0": x[:, None, ::2], "x1": x[:, None, 1::2], "w0": w[:, ::2], "w1": w[:, 1::2]}
        acc = run("pair", pairs).sum(-1).astype(int) - int(zx) * w.sum(1)
        values = {"acc": acc, "b": r[f"bias/{i}"], "sx": sx, "sw": sw, "s": s, "z": z}
        steps = steps_of(source.machine(engine), channel=False, relu=False)
        case = Case(steps, values, r[f"{engine}/8/tensor/{i}"], source.machine(engine))
        differ, words = differing(case, run)
        assert not differ, words
        exact = case._replace(values=values | {"acc": (x - int(zx) * (np.arange(10) < 9)) @ w.T})
        moved += differing(exact, run)[0]
    assert moved > 100  # exact sums are not those of that CPU


def put(key: str, right: str, other: str) -> sheet.Line:
    """A line with a text exchanged in both languages."""
    line = sheet.lines()[key]
    assert right in line.numpy and right in line.c
    return line._replace(numpy=line.numpy.replace(right, other), c=line.c.replace(right, other))


@LANGUAGES
def test_words(language: int) -> None:
    """What the page says in words: bodies on DEFAULT, and oneDNN 2 per channel."""
    lines = [put(key, "Qs(", "Qf(") for key in ("hardswish_tail", "hardsigmoid_tail", "leaky_relu_tail")]
    for source in sources("activations"):
        if source.kind == "default":
            for name, names in ARGUMENTS.items():
                _, sx, zx, *args = source.arrays[f"cases/{name}"][0]
                values = {"q": EVERY_CODE, "sx": sx, "zx": zx} | dict(zip(names, args, strict=True))
                case = one(f"{name}_tail", values, source.arrays[f"{name}/0/body"], source.machine())
                differ, words = differing(case, runner(language, case.machine.release, "quint8", *lines))
                assert not differ, words
    compared, line = 0, put("onednn_2", "D(sw)", "R(sw)")
    for release in ("1.13", "2.0"):
        for case in linear_of(release):
            if case.steps[0][0] == "onednn_2" and np.ndim(case.values["sw"]):
                differ, words = differing(case, runner(language, release, "quint8", line))
                assert not differ, words
                compared += case.expected.size
    assert compared > 5_000


EXCHANGED = [  # a line, and another that is not it
    *(("add_body", "add_tail"), ("add_tail", "add_body"), ("add_default", "add_body"), ("add_default", "add_tail")),
    *(("cat_body", "cat_tail"), ("cat_tail", "cat_body"), ("cat_contiguous", "cat_tail"), ("add_body", "mul")),
    *(("hardswish_body", "hardswish_tail"), ("hardswish_tail", "hardswish_body")),
    *(("hardswish_qnnpack", "hardswish_tail"), ("quantize", "quantize_channel"), ("quantize_channel", "quantize")),
    *(("hardsigmoid_body", "hardsigmoid_tail"), ("hardsigmoid_tail", "hardsigmoid_body")),
    *(("leaky_relu_body", "leaky_relu_tail"), ("leaky_relu_tail", "leaky_relu_body")),
    *(("fbgemm", "fbgemm_channel"), ("fbgemm", "fbgemm_depthwise"), ("fbgemm_channel", "fbgemm")),
    *(("fbgemm_channel", "fbgemm_depthwise"), ("fbgemm_depthwise", "fbgemm"), ("qnnpack", "fbgemm")),
    *(("fbgemm_depthwise", "fbgemm_channel"), ("onednn_avx512", "onednn_avx2"), ("onednn_avx2", "onednn_avx512")),
    *(("onednn_w", "onednn_w_channel"), ("onednn_w_channel", "onednn_w"), ("onednn_code", "onednn_divided")),
    *(("onednn_divided", "onednn_code"), ("avg_vector", "avg_contiguous"), ("avg_contiguous", "avg_vector")),
    *(("avg_left", "avg_contiguous"), ("avg_left", "adaptive_vector"), ("adaptive_vector", "avg_left")),
    *(("adaptive_contiguous", "avg_contiguous"), ("avg_qnnpack", "avg_vector"), ("dequantize_channel", "dequantize")),
    ("dequantize", "dequantize_channel"),
]


@pytest.mark.parametrize(("key", "other"), EXCHANGED)
def test_each_line_is_needed(key: str, other: str) -> None:
    """Another line in its place gives another integer somewhere."""
    line = sheet.lines()[other]._replace(key=key)
    assert wrong(key, NUMPY, line)


WRONG = [  # a line, and in NumPy and in C a text of it and a wrong one
    ("mul", "* f(sb) * R(s)", "* (f(sb) * R(s))", "* f(sb) * R(s)", "* (f(sb) * R(s))"),
    ("fbgemm", "t / f(s)", "t * R(s)", "t / f(s)", "t * R(s)"),
    ("fbgemm_channel", "b / t", "b * R(t)", "b / t", "b * R(t)"),
    ("qnnpack", "R(sw * sx)", "R(f(sw) * f(sx))", "R(sw * sx)", "R(f(sw) * f(sx))"),
    ("qnnpack", "f(sx) * R(s)", "f(sx) / f(s)", "f(sx) * R(s)", "f(sx) / f(s)"),
    ("onednn_avx512", "R(D(sx))", "f(sx)", "R(D(sx))", "f(sx)"),
    ("onednn_code", "R(R(D(s)))", "R(s)", "R(R(D(s)))", "R(s)"),
    ("onednn_2", "(D(s) / u)", "D(s) / u", "(D(s) / u)", "D(s) / u"),
    ("onednn_2", "D(sx)", "R(sx)", "D(sx)", "R(sx)"),
    ("add_qnnpack", "22 -", "23 -", "21 -", "22 -"),
    ("add_qnnpack", "np.sign(v) * ((abs(v) + (1 << n - 1)) >> n)", "((v + (1 << n - 1)) >> n)", "-((h - v) >> n)",
     "(v + h) >> n"),
    ("add_scalar", "f(sx) * R(s)", "f(sx) / f(s)", "f(sx) * R(s)", "f(sx) / f(s)"),
    ("add_scalar", "rint(c / sx)", "np.floor(c / sx)", "rint(c / sx)", "floor(c / sx)"),
    ("mul_scalar", "255 - q", "-q", "255 - q", "-q"),
    ("pair", "32767", "32768", "32767", "32768"),
    ("adaptive_contiguous", "R(kh) / f(kw)", "R(kh * kw)", "R(kh) / f(kw)", "R(kh * kw)"),
    ("clamp", "Qs(f(low), R(s), z)", "rint(low / s + z)", "Qs(f(low), R(s), z)", "rintf(f(low / s + z))"),
    ("relu", "q, z", "q, 0", "? q : z", "? q : 0"),
]  # fmt: skip


@LANGUAGES
@pytest.mark.parametrize(("key", "numpy", "no_numpy", "c", "no_c"), WRONG)
def test_each_step_of_a_line_is_needed(key: str, numpy: str, no_numpy: str, c: str, no_c: str, language: int) -> None:
    line = sheet.lines()[key]
    assert numpy in line.numpy and c in line.c
    other = line._replace(numpy=line.numpy.replace(numpy, no_numpy), c=line.c.replace(c, no_c))
    assert wrong(key, language, other)


WRONG_STEPS = [  # the line that shows it; in NumPy and in C a text of the steps and a wrong one
    ("add_body", ("rint(x * r) + f(z)", "np.floor(x * r + f(0.5)) + f(z)"),
     ("rintf(x * r) + f(z)", "floorf(x * r + 0.5f) + f(z)")),
    ("add_body", ("rint(x * r) + f(z)", "rint(x * r + f(z))"), ("rintf(x * r) + f(z)", "rintf(x * r + f(z))")),
    ("quantize", ("return f(1) / f(s)", "return f(1 / np.float64(s))"), ("return 1 / f(s)", "return f(1 / s)")),
    ("add_body", ("fma(f(s), f(q), f(s) * f(-z))", "f(s) * f(q) + f(s) * f(-z)"),
     ("fmaf(f(s), f(q), f(s) * f(-z))", "f(s) * f(q) + f(s) * f(-z)")),
    ("add_body", ("np.clip(v, 0, 255)", "np.clip(v, 0, 254)"), ("fmaxf(v, 0), 255", "fmaxf(v, 0), 254")),
    ("add_tail", ("f(q - z) * f(s)", "f((q - z) * np.float64(s))"), ("f(q - z) * f(s)", "f((q - z) * s)")),
    ("add_tail", ("rint(x * r + f(z))", "rint(fma(x, r, f(z)))"), ("rintf(x * r + f(z))", "rintf(fmaf(x, r, f(z)))")),
    ("quantize", ("rint(fma(x, r, f(z)))", "rint(x * r + f(z))"), ("rintf(fmaf(x, r, f(z)))", "rintf(x * r + f(z))")),
]  # fmt: skip


@LANGUAGES
@pytest.mark.parametrize(("key", "numpy", "c"), WRONG_STEPS)
def test_each_step_is_needed(key: str, numpy: tuple[str, str], c: tuple[str, str], language: int) -> None:
    other = (numpy, c)[language]
    assert other[0] in sheet.preamble(language) + sheet.preamble(language, zero_point_first=True)
    assert wrong(key, language, steps=other)


# The page

PAGES = re.compile(rb"/Type\s*/Pages\b[^>]*?/Count\s+(\d+)|/Count\s+(\d+)[^>]*?/Type\s*/Pages\b")
CLIPPED = """(width) => [...document.querySelectorAll(".ql-sheet :is(td, code), .ql-sheet math")]
    .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline"
        || e.getBoundingClientRect().right > (e.closest("td") ?? e).getBoundingClientRect().right + 1
        || e.getBoundingClientRect().right > width)
    .map((e) => e.textContent)"""
A4 = 726  # CSS pixels between the margins of the printed sheet


def pages_of(pdf: bytes) -> int:
    """How many pages a PDF has: its page tree says it, in the open or in a compressed stream."""
    parts = [pdf]
    for found in re.finditer(rb"stream\r?\n", pdf):
        with contextlib.suppress(zlib.error):
            parts.append(zlib.decompressobj().decompress(pdf[found.end() :]))
    return max(int(a or b) for part in parts for a, b in PAGES.findall(part))


@pytest.mark.book
@pytest.mark.usefixtures("built_book")
def test_the_page_holds_every_line() -> None:
    text = (HTML / "book" / "cheatsheet.html").read_text(encoding="utf-8")
    for line in sheet.lines().values():
        for code in (line.numpy, line.c):
            assert f"<code>{html.escape(code)}</code>" in text, line.key
    for step in sheet.STEPS:
        for code in (step.numpy, step.c, *(step.first or ())):
            assert html.escape(code) in text, step.name


@pytest.mark.book
@pytest.mark.browser
@pytest.mark.usefixtures("built_book")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_prints_on_two_sides_of_a4(theme: str, browser: Any) -> None:
    page = browser.new_page(color_scheme=theme, viewport={"width": A4, "height": 1000})
    page.goto(f"{HTML.as_uri()}/book/cheatsheet.html")
    pdf = page.pdf(format="A4", prefer_css_page_size=True)
    assert pages_of(pdf) == 2
    page.emulate_media(media="print")
    assert page.evaluate(CLIPPED, A4) == []
    assert page.evaluate("getComputedStyle(document.querySelector('.ql-sheet td')).color") == "rgb(0, 0, 0)"
    page.close()
