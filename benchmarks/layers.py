"""The convolutions of ResNet-18, a linear layer and a depthwise convolution: ours, PyTorch's, ONNX's reference."""

from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import qlearn
from benchmarks.timing import Work
from qlearn import Machine, QTensor

ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")
CHANNELS_LAST = ", channels_last"
FORMATS = {"": torch.contiguous_format, CHANNELS_LAST: torch.channels_last}


class Shape(NamedTuple):
    """A convolution of square images, batch 1."""

    channels: int
    outputs: int
    size: int
    kernel: int
    stride: int
    padding: int
    groups: int = 1

    def __str__(self) -> str:
        kind = "depthwise " if self.groups == self.channels > 1 else ""
        step = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{kind}{self.kernel}x{self.kernel}x{self.channels}x{self.outputs} at {self.size}x{self.size}{step}"

    @property
    def columns(self) -> int:
        """Bytes of the layer's im2col in float32."""
        out = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        return 4 * out * out * self.kernel**2 * self.channels


RESNET18 = {  # each shape of its 20 convolutions, at 224 x 224, and how many there are
    Shape(3, 64, 224, 7, 2, 3): 1,
    Shape(64, 64, 56, 3, 1, 1): 4,
    Shape(64, 128, 56, 3, 2, 1): 1,
    Shape(64, 128, 56, 1, 2, 0): 1,
    Shape(128, 128, 28, 3, 1, 1): 3,
    Shape(128, 256, 28, 3, 2, 1): 1,
    Shape(128, 256, 28, 1, 2, 0): 1,
    Shape(256, 256, 14, 3, 1, 1): 3,
    Shape(256, 512, 14, 3, 2, 1): 1,
    Shape(256, 512, 14, 1, 2, 0): 1,
    Shape(512, 512, 7, 3, 1, 1): 3,
}
DEPTHWISE = Shape(144, 144, 56, 3, 1, 1, 144)  # of MobileNetV2


class Layer(NamedTuple):
    """Numbers for a shape: activations of 7 bits, as PyTorch has them for x86, after a ReLU; weights per channel."""

    shape: Shape
    x: QTensor
    weight: QTensor
    bias: Any
    scale: float


def drawn(shape: Shape) -> Layer:
    """A layer from a fixed seed."""
    rng = np.random.default_rng(0)
    x = np.clip(np.abs(rng.normal(0, 40, (1, shape.size, shape.size, shape.channels))), 0, 127).astype(np.uint8)
    real = rng.normal(size=(shape.outputs, shape.channels // shape.groups, shape.kernel, shape.kernel))
    scales = np.abs(real).max(axis=(1, 2, 3)) / 127
    codes = np.rint(real / scales.reshape(-1, 1, 1, 1)).astype(np.int8)
    weight = QTensor(codes, scales, np.zeros(shape.outputs, int), "qint8", 0)
    image = shape.channels == 3  # comes contiguous, and with another zero point
    channels_first = x.transpose(0, 3, 1, 2)
    qx = QTensor(np.ascontiguousarray(channels_first) if image else channels_first, 0.02, 110 if image else 0, "quint8")
    bias = rng.normal(size=shape.outputs).astype(np.float32)
    return Layer(shape, qx, weight, bias, 0.02 * np.sqrt(real[0].size) / 2)


def ours(layer: Layer, engine: str) -> Work:
    """qlearn, from QTensor to QTensor."""
    machine = Machine(engine, torch.backends.cpu.get_cpu_capability(), 1, bool(torch.cpu._is_vnni_supported()))
    where = layer.shape.stride, layer.shape.padding, 1, layer.shape.groups
    return lambda: qlearn.conv2d_relu(layer.x, layer.weight, layer.bias, *where, layer.scale, 0, machine=machine)


def torch_int8(layer: Layer, engine: str) -> Work:
    """PyTorch's engine, with the weight packed before."""
    shape = layer.shape
    torch.backends.quantized.engine = engine
    where = [[n] * 2 for n in (shape.stride, shape.padding, 1)]
    packed = torch.ops.quantized.conv2d_prepack(
        layer.weight.to_torch(), torch.from_numpy(layer.bias), *where, shape.groups
    )
    x = layer.x.to_torch()

    def work() -> object:
        torch.backends.quantized.engine = engine
        return torch.ops.quantized.conv2d_relu(x, packed, layer.scale, 0)

    return work


def torch_float(layer: Layer, memory_format: torch.memory_format) -> Work:
    """PyTorch's float32 convolution."""
    x, w = (torch.from_numpy(t.dequantize()).contiguous(memory_format=memory_format) for t in (layer.x, layer.weight))
    bias, shape = torch.from_numpy(layer.bias), layer.shape
    return lambda: F.conv2d(x, w, bias, shape.stride, shape.padding, 1, shape.groups)


def onnx_reference(layer: Layer) -> Work:
    """QLinearConv of ONNX's reference evaluator, NumPy too."""
    shape, (x, w) = layer.shape, (np.ascontiguousarray(t.int_repr()) for t in (layer.x, layer.weight))
    constants = {
        "x_scale": np.float32(layer.x.q_scale()),
        "x_zero_point": np.uint8(layer.x.q_zero_point()),
        "w": w,
        "w_scale": layer.weight.q_per_channel_scales().astype(np.float32),
        "w_zero_point": np.zeros(shape.outputs, np.int8),
        "y_scale": np.float32(layer.scale),
        "y_zero_point": np.uint8(0),
        "bias": np.rint(layer.bias / (layer.x.q_scale() * layer.weight.q_per_channel_scales())).astype(np.int32),
    }
    where = {"strides": [shape.stride] * 2, "pads": [shape.padding] * 4, "group": shape.groups}
    node = helper.make_node("QLinearConv", ["x", *constants], ["y"], kernel_shape=[shape.kernel] * 2, **where)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    return lambda: evaluator.run(None, {"x": x})


def contestants(layer: Layer) -> dict[str, Work]:
    """Everyone who computes a layer; ours with the arithmetic of the engine x86."""
    floats = {f"float32{name}": torch_float(layer, memory_format) for name, memory_format in FORMATS.items()}
    return {"qlearn": ours(layer, "x86"), **floats, **{engine: torch_int8(layer, engine) for engine in ENGINES}}
