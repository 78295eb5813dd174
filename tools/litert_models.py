"""LiteRT's models of one operator, put together by hand, and run by one of its three kernels."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter
from ai_edge_litert import schema_py_generated as schema

KERNELS = {"reference": "BUILTIN_REF", "optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "xnnpack": "AUTO"}
TYPES = {np.int8: "INT8", np.int32: "INT32", np.float32: "FLOAT32"}


class Model:
    """Tensors, and one operator on them."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [schema.BufferT()], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape: Any, kind: Any, quantization: Any = None, data: Any = None, axis: int = 0) -> int:
        """Its place; quantization is (scale or scales, zero point)."""
        t = schema.TensorT()
        t.shape, t.type, t.name, t.buffer = (
            list(shape),
            getattr(schema.TensorType, TYPES[kind]),
            f"t{len(self.graph.tensors)}",
            0,
        )
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            t.buffer = len(self.model.buffers) - 1
        if quantization is not None:
            q = schema.QuantizationParametersT()
            q.scale = np.atleast_1d(np.asarray(quantization[0], np.float32))
            q.zeroPoint = np.full(len(q.scale), quantization[1], np.int64)
            q.quantizedDimension, t.quantization = axis, q
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def run(
        self, name: str, ins: list[int], out: int, fed: list[Any], kernel: str, version: int, options: Any = None
    ) -> Any:
        """The result for what is fed to the first tensors."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self.model.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = 0, ins, [out]
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(op)
        self.graph.inputs, self.graph.outputs = ins[: len(fed)], [out]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        resolver = getattr(interpreter.OpResolverType, KERNELS[kernel])
        it = interpreter.Interpreter(
            model_content=bytes(builder.Output()), experimental_op_resolver_type=resolver, num_threads=1
        )
        it.allocate_tensors()
        for detail, array in zip(it.get_input_details(), fed, strict=True):
            it.set_tensor(detail["index"], array)
        it.invoke()
        return it.get_tensor(it.get_output_details()[0]["index"])


def _flat(
    name: str, x: Any, from_kind: Any, to_kind: Any, q_in: Any, q_out: Any, kernel: str, version: int, options: Any
) -> Any:
    m, shape = Model(), (1, 1, len(x), 1)
    i, o = m.tensor(shape, from_kind, q_in), m.tensor(shape, to_kind, q_out)
    return m.run(name, [i], o, [x.reshape(shape)], kernel, version, options).reshape(-1)


def quantize(x: Any, q: Any, kernel: str) -> Any:
    """QUANTIZE of float32."""
    return _flat("QUANTIZE", x, np.float32, np.int8, None, q, kernel, 1, schema.QuantizeOptionsT())


def dequantize(x: Any, q: Any, kernel: str) -> Any:
    """DEQUANTIZE to float32."""
    return _flat("DEQUANTIZE", x, np.int8, np.float32, q, None, kernel, 2, schema.DequantizeOptionsT())


def pairwise(name: str, a: Any, b: Any, q1: Any, q2: Any, q: Any, kernel: str) -> Any:
    """ADD or MUL, with a fused RELU or not."""
    m, shape = Model(), (1, 1, len(a), 1)
    i, j, o = (m.tensor(shape, np.int8, each) for each in (q1, q2, q))
    op, _, relu = name.partition("_")
    options = schema.AddOptionsT() if op == "add" else schema.MulOptionsT()
    options.fusedActivationFunction = 1 if relu else 0
    return m.run(op.upper(), [i, j], o, [a.reshape(shape), b.reshape(shape)], kernel, 2, options).reshape(-1)


def average_pool(x: Any, q: Any, kernel: str) -> Any:
    """AVERAGE_POOL_2D of whole images, (N, H, W, 1)."""
    m = Model()
    i, o = m.tensor(x.shape, np.int8, q), m.tensor((len(x), 1, 1, 1), np.int8, q)
    options = schema.Pool2DOptionsT()
    options.padding, (options.filterHeight, options.filterWidth) = schema.Padding.VALID, x.shape[1:3]
    options.strideH, options.strideW = x.shape[1:3]
    return m.run("AVERAGE_POOL_2D", [i], o, [x], kernel, 2, options)


def unary(name: str, x: Any, q_in: Any, q_out: Any, kernel: str, alpha: float = 0.0) -> Any:
    """An activation."""
    code, version = {
        "sigmoid": ("LOGISTIC", 2),
        "tanh": ("TANH", 2),
        "hardswish": ("HARD_SWISH", 1),
        "leaky_relu": ("LEAKY_RELU", 2),
    }[name]
    options = None
    if name == "leaky_relu":
        options = schema.LeakyReluOptionsT()
        options.alpha = alpha
    return _flat(code, x, np.int8, np.int8, q_in, q_out, kernel, version, options)


def layer(name: str, acc: Any, p: Any, kernel: str) -> Any:
    """FULLY_CONNECTED or CONV_2D of an input that is its zero point: the bias is the accumulator."""
    m, n = Model(), len(acc)
    sx, sw = np.float32(p["sx"]), np.float32(p["sw"])
    many = n if p["per_channel"] else 1
    conv = name == "requantize_conv"
    shape, wshape, oshape = ((1, 1, 1, 8), (n, 1, 1, 8), (1, 1, 1, n)) if conv else ((1, 8), (n, 8), (1, n))
    i = m.tensor(shape, np.int8, (sx, 0))
    w = m.tensor(wshape, np.int8, (np.full(many, sw), 0), np.ones(wshape, np.int8))
    b = m.tensor((n,), np.int32, (np.full(many, sx * sw), 0), acc)
    o = m.tensor(oshape, np.int8, (np.float32(p["s"]), p["z"] - 128))
    options = schema.Conv2DOptionsT() if conv else schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = 1 if p["relu"] else 0
    if conv:
        options.padding = schema.Padding.VALID
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    version = 3 if conv else 12 if p["per_channel"] else 4
    code = "CONV_2D" if conv else "FULLY_CONNECTED"
    return m.run(code, [i, w, b], o, [np.zeros(shape, np.int8)], kernel, version, options).reshape(-1)
