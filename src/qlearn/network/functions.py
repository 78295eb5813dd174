"""The table of torch's functions and of its tensors' methods: each entry has PyTorch's own signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qlearn.network.call import Call, NotThere, one_by_one, params, short_name
from qlearn.network.operators import SIZES
from qlearn.network.step import Ref

__all__ = ["FUNCTIONS"]


def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: Any) -> Call:
    return Call("quantize", (input,), {**params(scale, zero_point), "dtype": short_name(dtype)})


def cat(tensors: Sequence[Any], dim: int = 0) -> Call:
    return Call("cat_alike", one_by_one(tensors), {"dim": dim})


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


def sigmoid(input: Any) -> Call:
    return Call("sigmoid", (input,))


def tanh(input: Any) -> Call:
    return Call("tanh", (input,))


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Call:
    return Call("leaky_relu_" if inplace else "leaky_relu", (input,), {"negative_slope": float(negative_slope)})


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


max_pool1d, max_pool2d = _max_pool("max_pool1d"), _max_pool("max_pool2d")


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


def _many(values: tuple[Any, ...]) -> Any:
    """x.view(2, 3) and x.view((2, 3)) are the same; the whole of x.size() is one Ref."""
    first: Any = values[0] if len(values) == 1 else None
    return first if isinstance(first, (tuple, list, Ref)) else values


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


def contiguous(input: Any, memory_format: Any = "contiguous_format") -> Call:
    return Call("contiguous", (input,), {"memory_format": short_name(memory_format)})


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
    "cat": cat,
    "concat": cat,
    "relu": relu,
    "relu_": lambda input: relu(input, inplace=True),
    "relu6": relu6,
    "hardtanh": hardtanh,
    "hardtanh_": lambda input, min_val=-1.0, max_val=1.0: hardtanh(input, min_val, max_val, inplace=True),
    "clamp": clamp,
    "clip": clamp,
    "hardsigmoid": hardsigmoid,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "leaky_relu": leaky_relu,
    "max_pool1d": max_pool1d,
    "max_pool2d": max_pool2d,
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
