"""A converted PyTorch model, read with torch.fx, as the steps of a Network; imports torch when it is called.

Modules, functions and operators of torch.ops.quantized are looked up in a table each, whose entries have PyTorch's own
signatures and say which step they become. What is in no table is refused, by its name and its layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from qlearn.codes._torch import quietly
from qlearn.network.call import Call, NotThere
from qlearn.network.functions import FUNCTIONS
from qlearn.network.modules import MODULES
from qlearn.network.operators import MOVING
from qlearn.network.quantized import QUANTIZED
from qlearn.network.step import Ref, Step

if TYPE_CHECKING:
    import torch

__all__ = ["Trace", "trace"]

REALS = tuple(function.__name__ for function in MOVING)
"""Steps that move real numbers as well as codes."""
VIEWS = (*REALS, "item")
"""Steps whose results share memory with their input, or may."""


class Trace(NamedTuple):
    """A traced model: torch's graph, the network's steps, and which node is which step."""

    graph: torch.fx.GraphModule
    steps: list[Step]
    inputs: list[str]
    output: Any
    names: dict[str, str]  # of a node of the graph -> of a step; what is passed through has no step


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
        self.kinds: dict[str, str] = {}  # of each step's result: "quantized", "real", "reals", a "list", a "size"
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
        where = self.layer(node)
        try:
            found = self.looked_up(node)
        except NotThere as error:
            raise NotImplementedError(f"the operator {error} of layer {where} is not there yet") from None
        if isinstance(found, Call):
            self.add(node, self.named(where), found)
        else:
            self.values[node.name] = found

    def looked_up(self, node: torch.fx.Node) -> Any:
        """What the node's entry in a table makes of its arguments: a Call, or what is passed through."""
        args, kwargs = self.known(node.args), self.known(node.kwargs)
        what, entry = self.entry(node)
        try:
            found = entry(*args, **kwargs)
        except TypeError:
            raise NotThere(f"{what} with arguments {args} {kwargs or ''}") from None
        except RuntimeError as error:  # of qnnpack's convolutions in three dimensions
            raise NotThere(f"{what}, whose weights PyTorch does not hand out: {error}") from None
        return self.checked(found, what) if isinstance(found, Call) else found

    def entry(self, node: torch.fx.Node) -> tuple[str, Callable[..., Any]]:
        """What the node calls, in words, and its entry in a table."""
        if node.op == "call_module":
            module = self.graph.get_submodule(str(node.target))
            what = f"{type(module).__module__}.{type(module).__qualname__}"
            if (kind := _kind(module)) not in MODULES:
                raise NotThere(what)
            return what, lambda *args, **kwargs: MODULES[kind](module, *args, **kwargs)
        if node.op == "call_method":
            name = str(node.target)
            what = f"Tensor.{name}"
        else:
            name = _name_of(node.target)
            what = f"torch.ops.{name}" if name.startswith("quantized") else name
        table = QUANTIZED if name in QUANTIZED else FUNCTIONS
        if name not in table:
            raise NotThere(what)
        return what, table[name]

    def checked(self, call: Call, what: str) -> Call:
        """Real numbers, after dequantizing, are moved but not computed with; torch adds no quantized tensors with +."""
        if call.op.endswith("_of_sizes"):
            for value in call.settings.values():
                if not isinstance(value, int) and self.kind_of(value) != "size":
                    raise NotThere(f"{what} (FloatFunctional has one for quantized tensors)")
        for value in call.inputs:
            kind = self.kind_of(value)
            if call.op == "getitem" and kind in ("list", "reals", "size"):
                return call._replace(op="item")
            if kind == "list" and call.op in ("cat", "cat_alike"):
                return call
            if kind == "real" and call.op not in ("quantize", "size", "ndim", *REALS):
                raise NotThere(f"{what}, in floating point after {value.name},")
            if kind in ("constant", "list", "reals", "size"):
                raise NotThere(f"{what} of {value}")
        return call

    def kind_of(self, value: Any) -> str:
        """Of what an argument refers to; the network's inputs go for quantized."""
        return self.kinds.get(value.name, "quantized") if isinstance(value, Ref) else "constant"

    def add(self, node: torch.fx.Node, name: str, call: Call) -> None:
        """The node as a step of this name."""
        step = Step(name, call.op, tuple(ref.name for ref in call.inputs), call.settings)
        self.steps.append(step)
        self.values[node.name], self.names[node.name] = Ref(name), name
        self.kinds[name] = self.kind_of_result(step)
        if step.op in VIEWS:
            source = step.inputs[0]
            self.origins[name] = self.origins.get(source, source)
        if step.op.endswith("_"):
            self.overwrite(node, Ref(name))

    def kind_of_result(self, step: Step) -> str:
        """What a step makes of the kinds that it reads."""
        kinds = [self.kind_of(Ref(name)) for name in step.inputs]
        if step.op in ("size", "ndim") or step.op.endswith("_of_sizes"):
            return "size"
        if step.op == "dequantize":
            return "real"
        if step.op in ("chunk", "split"):
            return "reals" if kinds[0] == "real" else "list"
        if step.op == "item" and (kinds[0] == "size" or isinstance(step.settings["index"], slice)):
            return kinds[0]
        if step.op != "quantize" and ("real" in kinds or "reals" in kinds):
            return "real"
        return "quantized"

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
