"""The domino (Chapters 10 and 11): one step of the arithmetic changed in one layer, and what falls after it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from qlearn import recordings
from qlearn.network import Network, Step
from qlearn.network.mistakes import MISTAKES, with_mistake
from qlearn.widgets.base import Widget, module, within

from . import drawn

Codes = npt.NDArray[Any]

FROM = "avx2"
NETWORKS = {"ResNet-18": "resnet18", "MobileNetV2": "mobilenet_v2"}
SCALES = ("observed", "twos")
LAST_BIT = "one last bit"
NAMES = (
    *(LAST_BIT, "float64", "divide", "zero point", "bias"),
    *("half away from zero", "truncation", "gemmlowp", "padding"),
)
"""What can be done to a layer: flip the last bit of one integer, or one of ``qlearn.network.mistakes``."""


@cache
def network(name: str, scales: str) -> Network:
    """One of the drawn networks, by the names in ``NETWORKS`` and ``SCALES``."""
    made: Network = getattr(drawn, name)(scales == "twos")
    return made


def flawed(step: Step, values: Mapping[str, Any], right: Codes, name: str) -> Codes | None:
    """The step's integers with a mistake; None where it cannot be made. ``values``: its inputs, QTensors by name."""
    if name == LAST_BIT:
        codes = np.array(right, order="C")
        codes.flat[codes.size // 2] ^= 1
        return codes
    try:
        return with_mistake(step, [values[n] for n in step.inputs], name, drawn.MACHINE).astype(right.dtype)
    except KeyError:
        return None


def computed(torch: Any, step: Step, values: Mapping[str, Any]) -> Any:
    """A step's result by PyTorch's own operator, of quantized tensors by name."""
    s, ops, inputs = dict(step.settings), torch.ops.quantized, [values[name] for name in step.inputs]
    if step.weight is not None:
        bias = torch.from_numpy(step.bias)
        where = [s[name] for name in ("stride", "padding", "dilation", "groups") if name in s]
        prepack = ops.conv2d_prepack if where else ops.linear_prepack
        packed = prepack(step.weight.to_torch(), bias, *where)
        return getattr(ops, step.op)(*inputs, packed, step.scale, step.zero_point)
    if step.op == "add":
        return ops.add(*inputs, step.scale, step.zero_point)
    if step.op == "adaptive_avg_pool2d":
        return torch.nn.functional.adaptive_avg_pool2d(*inputs, **s)
    return getattr(torch, step.op)(*inputs, **s)


def carried_on(torch: Any, net: Network, right: Mapping[str, Any], name: str, codes: Codes) -> dict[str, Any]:
    """PyTorch's results of all layers that differ if a layer has these codes; ``right``: all results as they are."""
    t, changed = right[name], {}
    wrong = torch.empty_like(t.int_repr()).copy_(torch.from_numpy(codes))
    if not torch.equal(wrong, t.int_repr()):
        changed[name] = torch._make_per_tensor_quantized_tensor(wrong, t.q_scale(), t.q_zero_point())
    for step in net.steps:
        if step.name != name and changed.keys() & step.needs:
            result = computed(torch, step, {**right, **changed})
            if not torch.equal(result.int_repr(), right[step.name].int_repr()):
                changed[step.name] = result
    return changed


@cache
def all_layers(torch: Any, net: Network) -> dict[str, Any]:
    """PyTorch's results of all layers, the image under "x"; kept, as a reader asks about one network many times."""
    values = {"x": drawn.image().to_torch()}
    for step in net.steps:
        values[step.name] = computed(torch, step, values)
    return values


def domino(torch: Any, net: Network, right: Mapping[str, Any], layer: int, name: str) -> dict[str, Any] | None:
    """How many integers of each layer differ, and what the logits become; None where the mistake cannot be made.

    Returns:
        counts: of each layer. most: by how many codes a logit differs at most. top: the index of the largest logit.
    """
    from qlearn.codes.affine import from_torch

    step, last = net.steps[layer], net.steps[-1].name
    values = {n: from_torch(right[n]) for n in step.inputs}
    codes = flawed(step, values, right[step.name].int_repr().numpy(), name)
    if codes is None:
        return None
    changed = carried_on(torch, net, right, step.name, codes)
    counts = [
        int((changed[s.name].int_repr() != right[s.name].int_repr()).sum()) if s.name in changed else 0
        for s in net.steps
    ]
    logits, were = (t.int_repr().numpy().astype(int).ravel() for t in (changed.get(last, right[last]), right[last]))
    return {"counts": counts, "most": int(np.abs(logits - were).max()), "top": int(logits.argmax())}


class Domino(Widget):
    """A network's layers in a row; change one step in one of them and see how many integers differ in each after it.

    Args:
        network: 0 for ResNet-18, 1 for MobileNetV2, both drawn by ``drawn.py`` at a quarter of their width.
        scales: 0 for scales as observers choose them, 1 for powers of two.
        mistake: counts along ``NAMES``.
        layer: counts along the network's layers.
    """

    _esm = module("network.js")
    scales = traitlets.Int(0).tag(sync=True)
    mistake = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    drawing = traitlets.Unicode()
    title = traitlets.Unicode().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)  # of the mistakes
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)  # what each does
    layers = traitlets.List(traitlets.Unicode()).tag(sync=True)
    ops = traitlets.List(traitlets.Unicode()).tag(sync=True)
    elements = traitlets.List(traitlets.Int()).tag(sync=True)
    top = traitlets.List(traitlets.Int()).tag(sync=True)  # index of the largest logit, by scales
    counts = traitlets.Bytes().tag(sync=True)  # zlib; int32, scales x mistakes x layers (where) x layers
    logits = traitlets.Bytes().tag(sync=True)  # zlib; int32, scales x mistakes x layers x (most, top)

    def __init__(self, network: int = 1, **traits: Any) -> None:
        found = recordings.load("domino")
        if not 0 <= network < len(NETWORKS):
            raise traitlets.TraitError(f"network must be 0 to {len(NETWORKS) - 1}, got {network}")
        title, name = list(NETWORKS.items())[network]
        both = {
            key: [found[f"{FROM}/{name}/{scales}/{key}"] for scales in SCALES] for key in ("counts", "logits", "top")
        }
        packed = {key: zlib.compress(np.stack(both[key]).astype("<i4").tobytes(), 9) for key in ("counts", "logits")}
        super().__init__(
            drawing=name,
            title=title,
            names=list(NAMES),
            words=[
                "the last bit of one integer, in the middle of the layer, flipped",
                *(MISTAKES[n][0] for n in NAMES[1:]),
            ],
            top=[int(top) for top in both["top"]],
            **{key: found[f"{FROM}/{name}/{key}"].tolist() for key in ("layers", "ops", "elements")},
            **packed,
            **traits,
        )

    _recorded = within(scales=range(len(SCALES)), mistake=range(len(NAMES)), layer=lambda domino: domino.layers)

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        net = network(self.drawing, SCALES[question["scales"]])
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = "fbgemm"
        try:
            found = domino(torch, net, all_layers(torch, net), question["layer"], NAMES[question["mistake"]])
        finally:
            torch.backends.quantized.engine = before
        return {"found": found}
