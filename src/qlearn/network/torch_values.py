"""PyTorch's own results of a network's steps; imports torch when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from qlearn.codes._torch import quietly
from qlearn.codes.affine import from_torch
from qlearn.network.step import Step
from qlearn.network.trace import trace

if TYPE_CHECKING:
    import torch

__all__ = ["torch_values"]


def torch_values(model: torch.nn.Module, steps: Sequence[Step], x: Sequence[Any]) -> tuple[dict[str, Any], str]:
    """The result of each step, and in words what ran; x as for the network.

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
                results[found.names[n.name]] = _copied(result)  # the next layer may write over it
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


def _copied(result: Any) -> Any:
    """Torch's tensors as qlearn's."""
    import torch

    if isinstance(result, (list, tuple)):
        return [_copied(part) for part in result]
    if not isinstance(result, torch.Tensor):
        return result
    return from_torch(result) if result.is_quantized else np.array(result.numpy())
