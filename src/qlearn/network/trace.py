"""A converted PyTorch model, read with torch.fx, as the steps of a Network; imports torch when it is called.

Modules, functions and methods are looked up in three tables; each entry has PyTorch's own signature and says which step
it becomes. What is in no table is refused, by its name and its layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qlearn.codes._torch import quietly
from qlearn.codes.affine import from_torch
from qlearn.network.operators import MOVING, SIZES
from qlearn.network.step import Ref, Step

if TYPE_CHECKING:
    import torch

__all__ = ["Trace", "program", "trace"]


class Call(NamedTuple):
    """What a step is to be: a function of ``qlearn``, its tensors, its settings."""

    op: str
    inputs: tuple[Any, ...]
    settings: dict[str, Any] = {}  # noqa: RUF012, never changed


class Trace(NamedTuple):
    """A traced model: torch's graph, the network's steps, and which node is which step."""

    graph: torch.fx.GraphModule
    steps: list[Step]
    inputs: list[str]
    output: Any
    names: dict[str, str]  # of a node of the graph -> of a step; what is passed through has no step


class NotThere(Exception):
    """An operator that no table has, in words."""


def program(model: torch.nn.Module) -> tuple[list[Step], list[str], Any]:
    """Steps, names of the inputs, output."""
    found = trace(model)
    return found.steps, found.inputs, found.output


def trace(model: torch.nn.Module) -> Trace:
    """Read a converted model: see ``Network.from_torch`` for what is refused."""
    import torch
    from torch import fx

    check(model)
    if isinstance(model, fx.GraphModule):
        graph = model
    else:
        tracer = fx.Tracer()
        try:
            graph = fx.GraphModule(model, tracer.trace(model))
        except fx.proxy.TraceError as error:
            raise ValueError(
                "model must run the same layers for every input, since torch.fx reads it without one; its forward "
                f"decides by data: {error}"
            ) from error
    with torch.no_grad(), quietly():
        return _Reader(graph).read()


def values(model: torch.nn.Module, steps: Sequence[Step], x: Sequence[Any]) -> tuple[dict[str, Any], str]:
    """PyTorch's own result of each step, and in words what ran; x as for the network.

    Raises:
        ValueError: the model's steps are not these.
    """
    import torch
    from torch import fx

    found = trace(model)
    for ours, theirs in zip_longest(steps, found.steps):
        if not _alike(ours, theirs):
            raise ValueError(
                f"model must be the one that the network was made from, but the network has {ours}, the model {theirs}"
            )
    results: dict[str, Any] = {}

    class Recorder(fx.Interpreter):  # type: ignore[misc]
        def run_node(self, n: torch.fx.Node) -> Any:
            result = super().run_node(n)
            if n.name in found.names:
                results[found.names[n.name]] = _as_values(result)  # a copy: the next layer may write over it
            return result

    with torch.no_grad(), quietly():
        Recorder(found.graph).run(*(torch.from_numpy(np.asarray(a)) for a in x))
    return results, f"torch {torch.__version__}, engine {torch.backends.quantized.engine}"


def _alike(ours: Step | None, theirs: Step | None) -> bool:
    """Whether two steps are the same, weights and biases included."""
    if ours is None or theirs is None or str(ours) != str(theirs):
        return False
    arrays = [(ours.bias, theirs.bias)]
    if ours.weight is not None and theirs.weight is not None:
        arrays.append((ours.weight.int_repr(), theirs.weight.int_repr()))
    return all(np.array_equal(mine, other) for mine, other in arrays if mine is not None and other is not None)


def _as_values(result: Any) -> Any:
    """Torch's tensors as qlearn's."""
    import torch

    if isinstance(result, (list, tuple)):
        return [_as_values(part) for part in result]
    if not isinstance(result, torch.Tensor):
        return result
    return from_torch(result) if result.is_quantized else np.array(result.numpy())


def check(model: Any) -> None:
    """Refuse what is no converted model, and say what to do."""
    import torch
    from torch.ao.quantization import FakeQuantizeBase, ObserverBase

    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model must not be scripted or traced: pass the converted model that torch.jit was given")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    modules = dict(model.named_modules())
    for kind, words, first in (
        (FakeQuantizeBase, "is in quantization-aware training", "when it is trained, call model.eval()"),
        (ObserverBase, "is prepared, but not converted", "show it calibration data"),
    ):
        name = next((name for name, module in modules.items() if isinstance(module, kind)), None)
        if name is not None:
            raise TypeError(
                f"model {words} ({type(modules[name]).__name__} at {name}): {first}, then "
                "torch.ao.quantization.convert(model), or convert_fx(model) if torch.fx prepared it"
            )
    graph = isinstance(model, torch.fx.GraphModule) and any(
        "quantize" in str(node.target) for node in model.graph.nodes
    )
    if not graph and not any("quantized" in type(module).__module__.split(".") for module in modules.values()):
        raise TypeError(
            "model must be quantized, this one is in floating point: fuse it, torch.ao.quantization.prepare it, show "
            "it calibration data, then torch.ao.quantization.convert(model)"
        )


class _Reader:
    """Walks the nodes of a graph once, in order."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        self.graph = graph
        self.values: dict[str, Any] = {}  # of each node: a Ref, or a constant
        self.kinds: dict[str, str] = {}  # of results that are "real", "reals", a "list" or a "size"
        self.origins: dict[str, str] = {}  # of views: what they look at
        self.steps: list[Step] = []
        self.names: dict[str, str] = {}
        self.taken: set[str] = set()

    def read(self) -> Trace:
        """The whole graph."""
        inputs = []
        output: Any = None
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                inputs.append(self.named(str(node.target)))
                self.values[node.name] = Ref(inputs[-1])
            elif node.op == "get_attr":
                self.values[node.name] = self.constant(node.target)
            elif node.op == "output":
                output = self.known(node.args[0])
            else:
                self.call(node)
        return Trace(self.graph, self.steps, inputs, output, self.names)

    def call(self, node: torch.fx.Node) -> None:
        """One node that computes: a step, or what is passed through."""
        args, kwargs = self.known(node.args), self.known(node.kwargs)
        where = self.layer(node)
        try:
            what, entry = self.entry(node)
            try:
                found = entry(*args, **kwargs)
            except TypeError:
                raise NotThere(f"{what} with arguments {args} {kwargs or ''}") from None
            except RuntimeError as error:  # of qnnpack's convolutions in three dimensions
                raise NotThere(f"{what}, whose weights PyTorch does not hand out: {error}") from None
            if isinstance(found, Call):
                found = self.refused(found, what)
        except NotThere as error:
            raise NotImplementedError(f"the operator {error} of layer {where} is not there yet") from None
        if not isinstance(found, Call):
            self.values[node.name] = found
            return
        name = self.named(where)
        inputs = tuple(ref.name for ref in found.inputs)
        self.steps.append(Step(name, found.op, inputs, found.settings))
        self.values[node.name], self.names[node.name] = Ref(name), name
        if found.op in VIEWS:
            self.origins[name] = self.origins.get(inputs[0], inputs[0])
        if found.op.endswith("_"):
            self.overwrite(node, Ref(name))
        if found.op in ("size", "ndim") or found.op.endswith("_of_sizes"):
            self.kinds[name] = "size"
        elif found.op == "dequantize":
            self.kinds[name] = "real"
        elif found.op in ("chunk", "split"):
            self.kinds[name] = "reals" if self.kinds.get(inputs[0]) == "real" else "list"
        elif found.op == "item" and (self.kinds[inputs[0]] == "size" or isinstance(found.settings["index"], slice)):
            self.kinds[name] = self.kinds[inputs[0]]
        elif found.op != "quantize" and any(self.kinds.get(source) in ("real", "reals") for source in inputs):
            self.kinds[name] = "real"

    def entry(self, node: torch.fx.Node) -> tuple[str, Callable[..., Any]]:
        """What the node calls, in words, and its entry in a table."""
        if node.op == "call_module":
            module = self.graph.get_submodule(str(node.target))
            what = f"{type(module).__module__}.{type(module).__qualname__}"
            if (key := _kind(module)) not in MODULES:
                raise NotThere(what)
            return what, lambda *args, **kwargs: MODULES[key](module, *args, **kwargs)
        if node.op == "call_method":
            what, key = f"Tensor.{node.target}", str(node.target)
        else:
            key = _name_of(node.target)
            what = f"torch.ops.{key}" if key.startswith("quantized") else key
        if key not in FUNCTIONS:
            raise NotThere(what)
        return what, FUNCTIONS[key]

    def refused(self, call: Call, what: str) -> Call:
        """Real numbers, after dequantizing, are moved but not computed with; torch adds no quantized tensors with +."""
        if call.op.endswith("_of_sizes"):
            for ref in call.settings.values():
                if not isinstance(ref, int) and self.kinds.get(getattr(ref, "name", "")) != "size":
                    raise NotThere(f"{what} (FloatFunctional has one for quantized tensors)")
            return call
        for ref in call.inputs:
            kind = self.kinds.get(ref.name, "quantized") if isinstance(ref, Ref) else "constant"
            if call.op == "getitem" and kind in ("list", "reals", "size"):
                return call._replace(op="item")
            if kind == "list" and call.op in ("cat", "cat_alike"):
                return call
            if kind == "real" and call.op not in ("quantize", "size", "ndim", *REALS):
                raise NotThere(f"{what}, in floating point after {ref.name},")
            if kind in ("constant", "list", "reals", "size"):
                raise NotThere(f"{what} of {ref}")
        return call

    def overwrite(self, node: torch.fx.Node, result: Ref) -> None:
        """Later uses of what the node changed in place see the result; views of it would, too, and are refused."""
        source: Any = node.args[0]
        changed = self.values[source.name]
        origin = self.origins.get(changed.name, changed.name)
        order = {other: place for place, other in enumerate(self.graph.graph.nodes)}
        for other in order:
            value = self.values.get(other.name)
            if isinstance(value, Ref) and value != result and origin in (value.name, self.origins.get(value.name)):
                if value == changed:
                    self.values[other.name] = result
                elif any(order[user] > order[node] for user in other.users):
                    raise NotImplementedError(
                        f"layer {result.name} changes {changed.name} in place, and {value.name}, used later, shares "
                        "its memory: that is not there yet; make the layer inplace=False"
                    )

    def layer(self, node: torch.fx.Node) -> str:
        """The layer's name: the module's, or the QFunctional's, or one made from the function's."""
        if node.op == "call_module":
            return str(node.target)
        for user in node.users:
            if user.op == "call_module" and str(user.target).endswith(".activation_post_process"):
                return str(user.target).removesuffix(".activation_post_process")
        stack = list(node.meta.get("nn_module_stack") or {})
        return f"{stack[-1].split('@')[0]}.{node.name}" if stack else node.name

    def named(self, wanted: str) -> str:
        """A name that no other step has: a module that is called twice gives "name" and "name:2"."""
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}:{count}"
        self.taken.add(name)
        return name

    def constant(self, target: Any) -> Any:
        """An attribute of the model: a number, an array, or packed weights."""
        import torch

        value: Any = self.graph
        for part in str(target).split("."):
            value = getattr(value, part)
        if isinstance(value, torch.Tensor) and not value.is_quantized:
            return value.item() if value.numel() == 1 else value.detach().numpy()
        return value

    def known(self, value: Any) -> Any:
        """Arguments with each node replaced by its Ref or constant."""
        from torch import fx

        if isinstance(value, fx.Node):
            return self.values[value.name]
        if isinstance(value, Mapping):
            return {key: self.known(part) for key, part in value.items()}
        if isinstance(value, slice):
            return slice(self.known(value.start), self.known(value.stop), self.known(value.step))
        if isinstance(value, (tuple, list)):
            return tuple(self.known(part) for part in value)
        return value


def _kind(module: torch.nn.Module) -> str:
    """A torch module's class with its package in short: "quantized.Conv2d", "nn.ReLU"; other classes in full."""
    kind = type(module)
    for package, short in (
        ("torch.ao.nn.quantized.modules", "quantized"),
        ("torch.ao.nn.intrinsic.quantized.modules", "quantized"),
        ("torch.nn.modules", "nn"),
    ):
        if kind.__module__.startswith(package):
            return f"{short}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _name_of(function: Any) -> str:
    """A function's name: "quantized.add" of torch.ops.quantized.add, "operator.add", "flatten"."""
    import torch

    if isinstance(function, torch._ops.OpOverload):
        function = function.overloadpacket
    if isinstance(function, torch._ops.OpOverloadPacket):
        return str(function._qualified_op_name).replace("::", ".")
    name, module = str(getattr(function, "__name__", function)), getattr(function, "__module__", None)
    if module in ("_operator", "operator", "math"):
        return f"{module.removeprefix('_')}.{name}"
    if module is not None and not module.startswith("torch") and function is not getattr:
        return f"{module}.{name}"
    return name


REALS = tuple(function.__name__ for function in MOVING)
"""Steps that move real numbers as well as codes."""
VIEWS = (*REALS, "item")
"""Steps whose results share memory with their input, or may."""


# Modules: module, then what its forward takes


def _conv(module: Any, x: Any) -> Call:
    mode = getattr(module, "padding_mode", "zeros")
    if mode != "zeros" or isinstance(module.padding, str):
        raise NotThere(f"{type(module).__name__} with padding {module.padding!r}, mode {mode!r}")
    op = type(module).__name__.replace("Conv", "conv").replace("ReLU", "")
    op = op + "_relu" if "ReLU" in type(module).__name__ else op
    where = {name: tuple(getattr(module, name)) for name in ("stride", "padding", "dilation")}
    return Call(op, (x,), {**_weights(module), **where, "groups": int(module.groups), **_params(module)})


def _linear(module: Any, x: Any) -> Call:
    op = "linear_relu" if type(module).__name__ == "LinearReLU" else "linear"
    return Call(op, (x,), {**_weights(module), **_params(module)})


def _weights(module: Any) -> dict[str, Any]:
    return _unpacked(module.weight(), module.bias())


def _unpacked(weight: torch.Tensor, bias: torch.Tensor | None) -> dict[str, Any]:
    """Weight as a QTensor, contiguous; bias as an array or None."""
    q = from_torch(weight.contiguous())
    return {"weight": q, "bias": None if bias is None else np.array(bias.detach().numpy())}


def _params(module: Any) -> dict[str, Any]:
    return {"scale": float(module.scale), "zero_point": int(module.zero_point)}


def _dropout(module: Any, x: Any) -> Any:
    if module.training and type(module).__module__.startswith("torch.nn.modules"):
        raise ValueError("model must be in evaluation mode, or its dropout is random: call model.eval()")
    return x


def _pool(module: Any) -> tuple[Any, ...]:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    return tuple(getattr(module, name) for name in names)


def _upsample(module: Any, x: Any) -> Call:
    return interpolate(x, module.size, module.scale_factor, module.mode, module.align_corners)


MODULES: dict[str, Callable[..., Any]] = {
    "quantized.Quantize": lambda m, x: Call("quantize", (x,), {**_params(m), "dtype": _dtype(m.dtype)}),
    "quantized.DeQuantize": lambda m, x: Call("dequantize", (x,)),
    **{f"quantized.Conv{n}d": _conv for n in (1, 2, 3)},
    **{f"quantized.ConvReLU{n}d": _conv for n in (1, 2, 3)},
    "quantized.Linear": _linear,
    "quantized.LinearReLU": _linear,
    "quantized.Dropout": _dropout,
    "nn.Dropout": _dropout,
    "nn.Dropout2d": _dropout,
    "nn.Identity": lambda m, x: x,
    "nn.ReLU": lambda m, x: relu(x, m.inplace),
    "nn.ReLU6": lambda m, x: relu6(x, m.inplace),
    "quantized.ReLU6": lambda m, x: relu6(x, m.inplace),
    "nn.Hardtanh": lambda m, x: hardtanh(x, m.min_val, m.max_val, m.inplace),
    "quantized.Hardswish": lambda m, x: Call("hardswish", (x,), _params(m)),
    "quantized.LeakyReLU": lambda m, x: Call("leaky_relu", (x,), {"negative_slope": m.negative_slope, **_params(m)}),
    "nn.LeakyReLU": lambda m, x: leaky_relu(x, m.negative_slope, m.inplace),
    "quantized.ELU": lambda m, x: Call("elu", (x,), {**_params(m), "alpha": float(m.alpha)}),
    "quantized.PReLU": lambda m, x: Call("prelu", (x,), {"weight": from_torch(m.weight), **_params(m)}),
    "quantized.Sigmoid": lambda m, x: Call(
        "sigmoid", (x,), {"scale": float(m.output_scale), "zero_point": int(m.output_zero_point)}
    ),
    "nn.Sigmoid": lambda m, x: Call("sigmoid", (x,)),
    "nn.Tanh": lambda m, x: Call("tanh", (x,)),
    "nn.Hardsigmoid": lambda m, x: hardsigmoid(x, m.inplace),
    "nn.MaxPool1d": lambda m, x: _max_pool("max_pool1d")(x, *_pool(m)),
    "nn.MaxPool2d": lambda m, x: _max_pool("max_pool2d")(x, *_pool(m)),
    "nn.AvgPool2d": lambda m, x: avg_pool2d(
        x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    ),
    "nn.AdaptiveAvgPool2d": lambda m, x: adaptive_avg_pool2d(x, m.output_size),
    "nn.Flatten": lambda m, x: flatten(x, m.start_dim, m.end_dim),
    "nn.ChannelShuffle": lambda m, x: channel_shuffle(x, m.groups),
    "nn.Upsample": _upsample,
    "nn.UpsamplingNearest2d": _upsample,
    "nn.UpsamplingBilinear2d": _upsample,
}
"""A module's class -> entry(module, *what its forward takes)."""


# Functions and methods, with PyTorch's signatures


def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: Any) -> Call:
    return Call("quantize", (input,), {"scale": float(scale), "zero_point": int(zero_point), "dtype": _dtype(dtype)})


def _dtype(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _two(op: str) -> Callable[..., Call]:
    def entry(qa: Any, qb: Any, scale: Any = None, zero_point: Any = None) -> Call:
        if isinstance(qb, (int, float)) and scale is None:  # the overload Scalar
            return _scalar(op.replace("_relu", "") + "_scalar" + ("_relu" if op.endswith("_relu") else ""))(qa, qb)
        return Call(op, (qa, qb), {"scale": float(scale), "zero_point": int(zero_point)})

    return entry


def _scalar(op: str) -> Callable[..., Call]:
    return lambda qa, b: Call(op, (qa,), {"c": float(b)})


def quantized_cat(qx: Sequence[Any], dim: int = 0, scale: Any = None, zero_point: Any = None) -> Call:
    if scale is None or zero_point is None:
        raise TypeError
    return Call("cat", _tensors(qx), {"scale": float(scale), "zero_point": int(zero_point), "dim": dim})


def cat(tensors: Sequence[Any], dim: int = 0) -> Call:
    return Call("cat_alike", _tensors(tensors), {"dim": dim})


def _tensors(several: Any) -> tuple[Any, ...]:
    """Tensors one by one, or the one list of them that an earlier step makes."""
    return (several,) if isinstance(several, Ref) else tuple(several)


def _packed_conv(op: str) -> Callable[..., Call]:
    def entry(qx: Any, packed: Any, scale: Any, zero_point: Any) -> Call:
        where = {name: tuple(getattr(packed, name)()) for name in ("stride", "padding", "dilation")}
        if op.startswith("conv1d"):
            where = {name: lengths[-1:] for name, lengths in where.items()}
        weight = _unpacked(*packed.unpack())
        if op.startswith("conv1d") and weight["weight"].ndim == 4:
            raise TypeError
        params = {"scale": float(scale), "zero_point": int(zero_point)}
        return Call(op, (qx,), {**weight, **where, "groups": int(packed.groups()), **params})

    return entry


def _packed_linear(op: str) -> Callable[..., Call]:
    def entry(x: Any, packed: Any, scale: Any, zero_point: Any) -> Call:
        return Call(op, (x,), {**_unpacked(*packed.unpack()), "scale": float(scale), "zero_point": int(zero_point)})

    return entry


def relu(input: Any, inplace: bool = False) -> Call:
    return Call("relu_" if inplace else "relu", (input,))


def relu6(input: Any, inplace: bool = False) -> Call:
    return Call("relu6_" if inplace else "relu6", (input,))


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Call:
    return Call(
        "hardtanh_" if inplace else "hardtanh", (input,), {"min_val": float(min_val), "max_val": float(max_val)}
    )


def clamp(input: Any, min: float | None = None, max: float | None = None) -> Call:
    return Call("clamp", (input,), {"min": min, "max": max})


def hardsigmoid(input: Any, inplace: bool = False) -> Call:
    return Call("hardsigmoid_" if inplace else "hardsigmoid", (input,))


def hardswish(input: Any, output_scale: Any, output_zero_point: Any) -> Call:
    return Call("hardswish", (input,), {"scale": float(output_scale), "zero_point": int(output_zero_point)})


def sigmoid(input: Any, output_scale: Any = None, output_zero_point: Any = None) -> Call:
    if output_scale is None:
        return Call("sigmoid", (input,))
    return Call("sigmoid", (input,), {"scale": float(output_scale), "zero_point": int(output_zero_point)})


def tanh(input: Any) -> Call:
    return Call("tanh", (input,))


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Call:
    return Call("leaky_relu_" if inplace else "leaky_relu", (input,), {"negative_slope": float(negative_slope)})


def quantized_leaky_relu(
    qx: Any, negative_slope: float, inplace: bool, output_scale: Any, output_zero_point: Any
) -> Call:
    params = {"scale": float(output_scale), "zero_point": int(output_zero_point)}
    return Call("leaky_relu", (qx,), {"negative_slope": float(negative_slope), **params})


def quantized_elu(self: Any, output_scale: Any, output_zero_point: Any, alpha: float = 1, *rest: Any) -> Call:
    if any(value != 1 for value in rest):
        raise TypeError
    params = {"scale": float(output_scale), "zero_point": int(output_zero_point)}
    return Call("elu", (self,), {**params, "alpha": float(alpha)})


def _max_pool(op: str) -> Callable[..., Call]:
    def entry(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Call:
        if return_indices:
            raise NotThere(f"{op} with return_indices")
        where = {"kernel_size": kernel_size, "stride": stride or None, "padding": padding, "dilation": dilation}
        return Call(op, (input,), {**where, "ceil_mode": ceil_mode})

    return entry


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Call:
    where = {"kernel_size": kernel_size, "stride": stride or None, "padding": padding, "ceil_mode": ceil_mode}
    return Call(
        "avg_pool2d", (input,), {**where, "count_include_pad": count_include_pad, "divisor_override": divisor_override}
    )


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Call:
    return Call("adaptive_avg_pool2d", (input,), {"output_size": output_size})


def mean(input: Any, dim: Any = None, keepdim: bool = False) -> Call:
    return Call("mean", (input,), {"dim": dim, "keepdim": keepdim})


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Call:
    if recompute_scale_factor or antialias:
        raise NotThere("interpolate with recompute_scale_factor or antialias")
    if mode not in ("nearest", "nearest-exact", "bilinear"):
        raise NotThere(f"interpolate in mode {mode!r}")
    where = {"size": size, "scale_factor": scale_factor, "mode": mode, "align_corners": align_corners}
    return Call("interpolate", (input,), where)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Call:
    return Call("flatten", (input,), {"start_dim": start_dim, "end_dim": end_dim})


def reshape(input: Any, *shape: Any) -> Call:
    return Call("reshape", (input,), {"shape": _many(shape)})


def view(input: Any, *shape: Any) -> Call:
    return Call("view", (input,), {"shape": _many(shape)})


def permute(input: Any, *dims: Any) -> Call:
    return Call("permute", (input,), {"dims": _many(dims)})


def transpose(input: Any, dim0: int, dim1: int) -> Call:
    return Call("transpose", (input,), {"dim0": dim0, "dim1": dim1})


def chunk(input: Any, chunks: int, dim: int = 0) -> Call:
    return Call("chunk", (input,), {"chunks": chunks, "dim": dim})


def channel_shuffle(input: Any, groups: int) -> Call:
    return Call("channel_shuffle", (input,), {"groups": groups})


def _many(values: tuple[Any, ...]) -> Any:
    """x.view(2, 3) and x.view((2, 3)) are the same; the whole of x.size() is one Ref."""
    first: Any = values[0] if len(values) == 1 else None
    return first if isinstance(first, (tuple, list, Ref)) else values


def contiguous(input: Any, memory_format: Any = "contiguous_format") -> Call:
    return Call("contiguous", (input,), {"memory_format": str(memory_format).removeprefix("torch.")})


def squeeze(input: Any, dim: Any = None) -> Call:
    return Call("squeeze", (input,), {"dim": dim})


def unsqueeze(input: Any, dim: int) -> Call:
    return Call("unsqueeze", (input,), {"dim": dim})


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Call:
    return Call("split", (tensor,), {"split_size_or_sections": split_size_or_sections, "dim": dim})


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training:
        raise ValueError("model must be in evaluation mode, or its dropout is random: call model.eval()")
    return input


def size(input: Any, dim: int | None = None) -> Call:
    return Call("size", (input,), {"dim": dim})


def attribute(input: Any, name: str) -> Any:
    if name == "shape":
        return size(input)
    raise NotThere(f"Tensor.{name}")


def getitem(values: Any, index: Any) -> Any:
    return Call("getitem", (values,), {"index": index}) if isinstance(values, Ref) else values[index]


def _of_sizes(op: str) -> Callable[..., Call]:
    return lambda a, b: Call(f"{op}_of_sizes", (), {"a": a, "b": b})


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantize_per_tensor": quantize_per_tensor,
    "dequantize": lambda input: Call("dequantize", (input,)),
    **{f"quantized.{op}": _two(op) for op in ("add", "add_relu", "mul", "mul_relu")},
    **{f"quantized.{op}": _scalar(op) for op in ("add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu")},
    "quantized.cat": quantized_cat,
    "cat": cat,
    "concat": cat,
    **{f"quantized.conv{n}d{relu}": _packed_conv(f"conv{n}d{relu}") for n in (1, 2, 3) for relu in ("", "_relu")},
    **{f"quantized.linear{relu}": _packed_linear(f"linear{relu}") for relu in ("", "_relu")},
    "relu": relu,
    "relu_": lambda input: relu(input, inplace=True),
    "relu6": relu6,
    "quantized.relu6": relu6,
    "hardtanh": hardtanh,
    "hardtanh_": lambda input, min_val=-1.0, max_val=1.0: hardtanh(input, min_val, max_val, inplace=True),
    "clamp": clamp,
    "clip": clamp,
    "hardsigmoid": hardsigmoid,
    "quantized.hardswish": hardswish,
    "sigmoid": sigmoid,
    "quantized.sigmoid": sigmoid,
    "tanh": tanh,
    "leaky_relu": leaky_relu,
    "quantized.leaky_relu": quantized_leaky_relu,
    "quantized.elu": quantized_elu,
    "max_pool1d": _max_pool("max_pool1d"),
    "max_pool2d": _max_pool("max_pool2d"),
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "mean": mean,
    "interpolate": interpolate,
    "upsample": interpolate,
    "flatten": flatten,
    "reshape": reshape,
    "view": view,
    "permute": permute,
    "transpose": transpose,
    "chunk": chunk,
    "split": split,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "channel_shuffle": channel_shuffle,
    "contiguous": contiguous,
    "detach": lambda input: input,
    "dropout": dropout,
    "size": size,
    "dim": lambda input: Call("ndim", (input,)),
    "getattr": attribute,
    "operator.getitem": getitem,
    **{f"operator.{op}": _of_sizes(op) for op in SIZES},
}
"""A function's or method's name -> entry with its signature."""
