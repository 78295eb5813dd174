"""Linear layers and convolutions to compare with PyTorch: drawn inputs, PyTorch's answer, qlearn's answer."""

from typing import Any, NamedTuple

import numpy as np

import qlearn
from oracle import ask, compare, cpu_flags
from qlearn import Machine, QTensor, recordings
from qlearn.kernels import kernel_of
from qlearn.windows import geometry
from strategies import arranged, zero_points

ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")
VNNI = "avx512_vnni" in cpu_flags()


class Layer(NamedTuple):
    """One call of an operator; ``geometry`` is stride, padding, dilation, groups, or () for linear."""

    operator: str
    x: Any
    x_scale: float
    x_zero_point: int
    layout: str
    weight: Any
    w_scale: Any  # a number, or one for each output channel
    w_zero_point: Any
    bias: Any
    geometry: tuple[Any, ...]
    scale: float
    zero_point: int

    def tensors(self) -> tuple[QTensor, QTensor]:
        """x and weight."""
        axis = 0 if np.ndim(self.w_scale) else None
        x = QTensor(arranged(self.x, self.layout), self.x_scale, self.x_zero_point, "quint8")
        return x, QTensor(self.weight, self.w_scale, self.w_zero_point, "qint8", axis)

    def __repr__(self) -> str:
        about = self._replace(x=self.x.shape, weight=self.weight.shape, bias=None if self.bias is None else "float32")
        return f"Layer{tuple(about)}"


def torch_answers(layers: list[Layer]) -> list[Any]:
    """Codes and strides of each layer, or the message of PyTorch's refusal. Each is packed anew."""
    import torch

    found: list[Any] = []
    for layer in layers:
        x, weight = (t.to_torch() for t in layer.tensors())
        bias = None if layer.bias is None else torch.from_numpy(layer.bias)
        ops, name = torch.ops.quantized, layer.operator.removesuffix("_relu")
        try:
            packed = getattr(ops, f"{name}_prepack")(weight, bias, *layer.geometry)
            out = getattr(ops, layer.operator)(x, packed, layer.scale, layer.zero_point)
            found.append((out.int_repr().numpy(), out.stride()))
        except RuntimeError as error:
            found.append(str(error))
    return found


def answer(layer: Layer, machine: Machine) -> QTensor:
    """qlearn's."""
    x, weight = layer.tensors()
    operator = getattr(qlearn, layer.operator)
    result: QTensor = operator(x, weight, layer.bias, *layer.geometry, layer.scale, layer.zero_point, machine=machine)
    return result


def machine_of(engine: str, capability: str, threads: int = 1) -> Machine:
    """The machine that runs the tests."""
    return Machine(engine, capability, threads, vnni=VNNI)


def known(engine: str) -> bool:
    """Whether qlearn knows the engine's kernels on this CPU: not oneDNN's for AVX-512 without VNNI, or for AVX-VNNI."""
    return engine != "onednn" or VNNI or not cpu_flags() & {"avx512f", "avx_vnni"}


def same_layers(layers: list[Layer], engine: str, capability: str, threads: int) -> None:
    """Compare every integer of every layer, and where they lie."""
    theirs = ask(capability, torch_answers, layers, engine=engine, threads=threads)
    for layer, expected in zip(layers, theirs, strict=True):
        assert not isinstance(expected, str), (expected, layer)
        ours, (codes, strides) = answer(layer, machine_of(engine, capability, threads)), expected
        compare(layer.operator, ours.int_repr(), codes, (engine, capability, threads, layer))
        lengths = zip(ours.strides, strides, codes.shape, strict=True)
        assert not codes.size or all(mine == other or n == 1 for mine, other, n in lengths), (ours.strides, strides)
        assert (ours.q_scale(), ours.q_zero_point(), ours.dtype) == (layer.scale, layer.zero_point, "quint8")


def recorded_machine(name: str, capability: str, engine: str) -> Machine:
    """The machine on which PyTorch's outputs were recorded."""
    source = recordings.manifest()[name]["capabilities"][capability]
    return Machine(engine, capability.upper(), 1, vnni="avx512_vnni" in source["cpu"])


# Drawing


def linear(rng: np.random.Generator, shape: tuple[int, ...], outputs: int, *, bits: int, symmetric: bool) -> Layer:
    """A linear layer for x of this shape."""
    x, weight = codes(rng, shape, bits), weights(rng, (outputs, shape[-1]))
    return _layer(rng, "linear", x, "contiguous", weight, (), bits, symmetric)


def conv(rng: np.random.Generator, n: int, *, bits: int, symmetric: bool, kind: str = "any") -> Layer:
    """A convolution in n dimensions, of kind "any", "grouped", "depthwise" or "pointwise"; never one that corrupts."""
    while True:
        layer = _any_conv(rng, n, bits=bits, symmetric=symmetric, kind=kind)
        if sound(layer):
            return layer


def sound(layer: Layer) -> bool:
    """Whether no library uses memory that is not its own for this convolution, on any CPU."""
    x, weight = layer._replace(w_zero_point=np.zeros_like(layer.w_zero_point).tolist()).tensors()
    g = geometry(x.ndim - 2, x.shape, weight.shape, *layer.geometry)
    try:
        for machine in (Machine(e, c, 1, c == "AVX512") for e in ("fbgemm", "onednn") for c in ("AVX2", "AVX512")):
            kernel_of(machine, weight, g)
    except NotImplementedError:
        return False
    return True


def _any_conv(rng: np.random.Generator, n: int, *, bits: int, symmetric: bool, kind: str) -> Layer:
    kernel, stride, dilation = (rng.integers(1, most, n) for most in (5 if n < 3 else 4, 4, 3))
    padding = rng.integers(0, 4, n)
    groups, into, out_of = 1, int(rng.integers(1, 24)), int(rng.integers(1, 24))
    if kind == "pointwise":
        kernel, padding = kernel * 0 + 1, padding * 0
    elif kind == "grouped":
        groups, into, out_of = int(rng.integers(2, 9)), int(rng.integers(1, 10)), int(rng.integers(1, 10))
        if rng.random() < 0.4:
            groups, into, out_of = 8, int(2 ** rng.integers(1, 5)), int(2 ** rng.integers(1, 5))
            kernel = kernel * 0 + 3 if rng.random() < 0.7 else kernel
            padding, dilation, stride = kernel // 2, dilation * 0 + 1, stride * 0 + int(rng.integers(1, 3))
    elif kind == "depthwise":
        groups, into, out_of = int(rng.choice([3, 8, 16, 24])), 1, int(rng.integers(1, 3))
        kernel = kernel * 0 + (3 if n == 3 else int(rng.choice([3, 5])))
        padding, dilation, stride = kernel // 2, dilation * 0 + 1, stride * 0 + int(rng.integers(1, 3))
    lengths = np.maximum(rng.integers(1, 11 if n < 3 else 6, n), dilation * (kernel - 1) + 1 - 2 * padding)
    x = codes(rng, (int(rng.integers(1, 3)), groups * into, *lengths.tolist()), bits)
    layout = str(rng.choice(["contiguous", "channels_last"]))
    geometry = (stride.tolist(), padding.tolist(), dilation.tolist(), groups)
    w = weights(rng, (groups * out_of, into, *kernel.tolist()))
    return _layer(rng, f"conv{n}d", x, layout, w, geometry, bits, symmetric)


def codes(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> Any:
    """Activations over 7 or 8 bits; half of the latter near 255, where products saturate."""
    low = 192 if bits == 8 and rng.random() < 0.5 else 0
    return rng.integers(low, 2**bits, shape).astype(np.uint8)


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Weights over the whole range, or small ones."""
    return (rng.integers(-128, 128, shape) // int(rng.choice([1, 1, 8]))).astype(np.int8)


def _layer(
    rng: np.random.Generator, operator: str, x: Any, layout: str, weight: Any, geometry: Any, bits: int, symmetric: bool
) -> Layer:
    """Scales related by powers of two and biases on the grid, so that there are ties, or random ones."""
    channels = weight.shape[0]
    x_scale, first = float(rng.uniform(1e-3, 1)), float(rng.uniform(1e-3, 0.1))
    w_scale: Any = (
        first * 2.0 ** rng.integers(-2, 3, channels) if rng.random() < 0.7 else rng.uniform(1e-3, 0.1, channels)
    )
    w_zero_point: Any = rng.integers(-128, 128, channels) * int(not symmetric)
    if rng.random() < 0.5:
        w_scale, w_zero_point = first, int(w_zero_point[0])
    typical = np.sqrt(weight[0].size) * float(np.abs(x).max(initial=1)) * (float(weight.std()) + 1) / 60
    scale = x_scale * first * typical
    if rng.random() < 0.7:
        scale = x_scale * first * float(2.0 ** np.round(np.log2(typical)))
    grid = x_scale * np.asarray(w_scale) * (1 if rng.random() < 0.5 else rng.random(channels))
    bias = (
        None
        if rng.random() < 0.25
        else (
            rng.integers(-1, 2, channels) * rng.integers(0, 5000, channels) // int(rng.choice([1, 16])) * grid
        ).astype(np.float32)
    )
    return Layer(
        operator + ("_relu" if rng.random() < 0.3 else ""),
        *(x, x_scale, int(rng.integers(0, 2**bits)), layout, weight, w_scale, w_zero_point, bias, geometry),
        *(scale, zero_points(rng, "quint8")),
    )
