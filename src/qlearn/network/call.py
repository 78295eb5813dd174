"""What a table's entry says of a torch layer: the step it becomes, or that it is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qlearn.codes.affine import from_torch
from qlearn.network.step import Ref

if TYPE_CHECKING:
    import torch

__all__ = ["Call", "NotThere", "one_by_one", "params", "short_name", "weights"]


class Call(NamedTuple):
    """What a step is to be: a function of ``qlearn``, its tensors, its settings."""

    op: str
    inputs: tuple[Any, ...]
    settings: dict[str, Any] = {}  # noqa: RUF012, never changed


class NotThere(Exception):
    """An operator that no table has, in words."""


def params(scale: Any, zero_point: Any) -> dict[str, Any]:
    """The result's scale and zero point, which torch has as numbers or as tensors of one."""
    return {"scale": float(scale), "zero_point": int(zero_point)}


def weights(weight: torch.Tensor, bias: torch.Tensor | None) -> dict[str, Any]:
    """Weight as a QTensor, contiguous; bias as an array or None."""
    q = from_torch(weight.contiguous())
    return {"weight": q, "bias": None if bias is None else np.array(bias.detach().numpy())}


def one_by_one(tensors: Any) -> tuple[Any, ...]:
    """Several tensors, or the one list of them that an earlier step makes."""
    return (tensors,) if isinstance(tensors, Ref) else tuple(tensors)


def short_name(constant: Any) -> str:
    """A dtype or memory format of torch without "torch."."""
    return str(constant).removeprefix("torch.")
