"""Linear layers and convolutions to compare with PyTorch: drawn inputs, PyTorch's answer, qlearn's answer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import qlearn
from qlearn import Machine, QTensor
from qlearn.layers.kernels import kernel_of
from qlearn.layers.windows import geometry

Array = npt.NDArray[Any]
Generator = np.random.Generator
KINDS = ("any", "grouped", "depthwise", "pointwise")
NAMES = tuple(
    f"{name}{relu}" for name in ("linear", "conv1d", "conv2d", "conv2d_add", "conv3d") for relu in ("", "_relu")
)


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
    accum: tuple[Any, float, int] | None = None  # of conv2d_add: codes, scale, zero point

    def added(self) -> tuple[QTensor, ...]:
        """accum, if there is one."""
        return () if self.accum is None else (QTensor(*self.accum, "quint8"),)

    def tensors(self) -> tuple[QTensor, QTensor]:
        """x and weight."""
        axis = 0 if np.ndim(self.w_scale) else None
        x = QTensor(arranged(self.x, self.layout), self.x_scale, self.x_zero_point, "quint8")
        return x, QTensor(self.weight, self.w_scale, self.w_zero_point, "qint8", axis)

    def __repr__(self) -> str:
        accum = self.accum and (self.accum[0].shape, *self.accum[1:])
        about = self._replace(x=self.x.shape, weight=self.weight.shape, bias=np.shape(self.bias), accum=accum)
        return f"Layer{tuple(about)}"


def arranged(x: Any, layout: str) -> Any:
    """The same elements, or part of them, in other places of memory."""
    if layout == "channels_last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "transposed":
        return x.swapaxes(0, -1)
    if layout == "sliced":
        return x[..., ::2]
    if layout == "channels_last_sliced":
        return arranged(x, "channels_last")[:, :, ::2]
    assert layout == "contiguous"
    return x


def torch_answer(layer: Layer) -> Any:
    """PyTorch's tensor; the weight is packed anew, since QNNPACK and oneDNN keep what they made for its first call."""
    import torch

    x, weight, *accum = (t.to_torch() for t in (*layer.tensors(), *layer.added()))
    bias = None if layer.bias is None else torch.from_numpy(layer.bias)
    ops, name = torch.ops.quantized, layer.operator.split("_")[0]
    packed = getattr(ops, f"{name}_prepack")(weight, bias, *layer.geometry)
    threads = torch.get_num_threads()
    if races(layer):
        torch.set_num_threads(1)
    try:
        return getattr(ops, layer.operator)(x, *accum, packed, layer.scale, layer.zero_point)
    finally:
        torch.set_num_threads(threads)


def races(layer: Layer) -> bool:
    """Whether oneDNN on several threads goes wrong now and then, which on one it does not.

    Its kernel for AVX2 gives other integers for a strided 1 x 1. Up to PyTorch 2.14 one for AVX-512 ends the process
    where a kernel 1 wide is dilated along the width and padded.
    """
    if not layer.geometry:
        return False
    kernel, (stride, padding, dilation, _) = layer.weight.shape[2:], layer.geometry
    strided = set(kernel) == {1} and np.max(stride) > 1
    return bool(strided or (kernel[-1] == 1 < np.ravel(dilation)[-1] and np.ravel(padding)[-1] > 0))


def answer(layer: Layer, machine: Machine) -> QTensor:
    """qlearn's."""
    x, weight = layer.tensors()
    operator: Callable[..., QTensor] = getattr(qlearn, layer.operator)
    to = layer.scale, layer.zero_point
    return operator(x, *layer.added(), weight, layer.bias, *layer.geometry, *to, machine=machine)


def sound(layer: Layer, *machines: Machine) -> bool:
    """Whether the library that these machines use has a kernel that keeps to its memory, and that qlearn knows."""
    x, weight = layer._replace(w_zero_point=np.zeros_like(layer.w_zero_point).tolist()).tensors()
    g = geometry(x.ndim - 2, x.shape, weight.shape, *layer.geometry)
    try:
        for machine in machines:
            kernel_of(machine, weight, g)
    except NotImplementedError:
        return False
    return True


# Drawing


def draw(name: str, rng: Generator) -> Layer:
    """A layer of one of the ``NAMES``, for the engine of the running PyTorch; a third of the weights asymmetric."""
    machine = Machine.from_torch()
    common: dict[str, Any] = {"bits": int(rng.integers(7, 9)), "relu": name.endswith("_relu")}
    common["symmetric"] = machine.engine == "onednn" or rng.random() < 2 / 3
    if name.startswith("linear"):
        rows = tuple(rng.integers(1, 30, int(rng.integers(1, 4))).tolist())
        return draw_linear(rng, (*rows, int(rng.integers(1, 300))), int(rng.integers(1, 140)), **common)
    n, kind = int(name[4]), str(rng.choice(KINDS))
    longest = int(rng.choice([10, 40])) if n > 1 else 300
    layer = draw_conv(rng, n, machine, kind=kind, longest=longest, **common)
    return with_accum(rng, layer) if "add" in name else layer


def draw_linear(
    rng: Generator, shape: tuple[int, ...], outputs: int, *, bits: int, symmetric: bool, relu: bool | None = None
) -> Layer:
    """A linear layer for x of this shape."""
    x, weight = codes(rng, shape, bits), weights(rng, (outputs, shape[-1]))
    return _layer(rng, "linear", x, "contiguous", weight, (), bits, symmetric, relu)


def draw_conv(
    rng: Generator,
    n: int,
    *machines: Machine,
    bits: int,
    symmetric: bool,
    kind: str = "any",
    longest: int = 10,
    relu: bool | None = None,
) -> Layer:
    """A convolution in n dimensions, of one of the ``KINDS``, that is ``sound`` on these machines."""
    while True:
        layer = _any_conv(rng, n, bits, symmetric, kind, longest, relu)
        if sound(layer, *machines):
            return layer


def _any_conv(rng: Generator, n: int, bits: int, symmetric: bool, kind: str, longest: int, relu: bool | None) -> Layer:
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
        if rng.random() < 0.7:
            kernel = kernel * 0 + (3 if n == 3 else int(rng.choice([3, 5])))
            padding, dilation, stride = kernel // 2, dilation * 0 + 1, stride * 0 + int(rng.integers(1, 3))
    most = longest if n < 3 else longest // 2
    lengths = np.maximum(rng.integers(1, most + 1, n), dilation * (kernel - 1) + 1 - 2 * padding)
    x = codes(rng, (int(rng.integers(1, 3)), groups * into, *lengths.tolist()), bits)
    layout = str(rng.choice(["contiguous", "channels_last"]))
    where = (stride.tolist(), padding.tolist(), dilation.tolist(), groups)
    w = weights(rng, (groups * out_of, into, *kernel.tolist()))
    return _layer(rng, f"conv{n}d", x, layout, w, where, bits, symmetric, relu)


def with_accum(rng: Generator, layer: Layer) -> Layer:
    """conv2d as conv2d_add, with another tensor to be added; its scale is the result's up to a power of two, or any."""
    x, weight = layer.tensors()
    g = geometry(2, x.shape, weight.shape, *layer.geometry)
    scale = layer.scale * float(2.0 ** rng.integers(-2, 3) if rng.random() < 0.5 else rng.uniform(0.1, 3))
    accum = rng.integers(0, 256, (x.shape[0], weight.shape[0], *g.out), dtype=np.uint8), scale, int(rng.integers(256))
    return layer._replace(operator=layer.operator.replace("conv2d", "conv2d_add"), accum=accum)


def codes(rng: Generator, shape: tuple[int, ...], bits: int) -> Array:
    """Activations over 7 or 8 bits; half of the latter near 255, where products saturate."""
    low = 192 if bits == 8 and rng.random() < 0.5 else 0
    return rng.integers(low, 2**bits, shape).astype(np.uint8)


def weights(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Weights over the whole range, or small ones."""
    return (rng.integers(-128, 128, shape) // int(rng.choice([1, 1, 8]))).astype(np.int8)


def _layer(
    rng: Generator,
    operator: str,
    x: Array,
    layout: str,
    weight: Array,
    where: Any,
    bits: int,
    symmetric: bool,
    relu: bool | None,
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
    steps = rng.integers(-1, 2, channels) * rng.integers(0, 5000, channels) // int(rng.choice([1, 16]))
    bias = None if rng.random() < 0.25 else (steps * grid).astype(np.float32)
    name = operator + ("_relu" if (rng.random() < 0.3 if relu is None else relu) else "")
    x_zero_point, zero_point = int(rng.integers(0, 2**bits)), int(rng.integers(256))
    zero_point = zero_point if rng.random() < 0.5 else int(rng.choice([0, 1, 3, 75, 128, 255]))
    w = (weight, w_scale, w_zero_point)
    return Layer(name, x, x_scale, x_zero_point, layout, *w, bias, where, float(scale), zero_point)
