"""The lines of pools and shapes in ``operators.OPERATORS``: images anywhere in memory, and windows of every kind."""

from functools import partial
from typing import Any

import numpy as np

import drawing
import qlearn
from drawing import Answer, Case, Operand, Operator, answer
from qlearn import Machine
from qlearn.machine.layout import dense_strides, strides_in_order

Generator = np.random.Generator
LAYOUTS = ("contiguous", "channels_last", "sliced", "permuted", "repeated")
CHANNELS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65, 129)


def draw_image(
    rng: Generator, *, dtype: str | None = None, n: int = 0, layout: str = "", most: int = 24, axes: int = 0
) -> Operand:
    """A tensor (N, C, H, W) of about n codes, or (C, H, W), or one of them; H and W up to most."""
    dtype = dtype or str(rng.choice(np.array(["quint8", "qint8", "qint32"]), p=[0.5, 0.4, 0.1]))
    h, w = (int(rng.integers(1, 1 + int(rng.choice([1, 4, most])))) for _ in "hw")
    channels = int(rng.choice(np.array([*CHANNELS, int(rng.integers(1, 200))])))
    batch = max(1, min(8, (n or int(rng.choice([300, 3000, 20_000]))) // (channels * h * w)))
    shape: tuple[int, ...] = (batch, channels, h, w)
    if rng.random() < 0.02:
        shape = (0, channels, h, w)
    layout = layout or str(rng.choice(np.array(LAYOUTS), p=[0.3, 0.4, 0.15, 0.1, 0.05]))
    strides = _strides(rng, shape, layout)
    if axes == 3 or (not axes and rng.random() < 0.1 and layout != "channels_last"):
        shape, strides = shape[1:], strides[1:]
    return drawing.operand(rng, (shape, strides), dtype, drawing.scales(rng, 1)[0])


def _strides(rng: Generator, shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    if layout == "channels_last":
        return dense_strides(shape, channels_last=True)
    if layout == "sliced":
        larger = [length + int(rng.choice([0, 0, 1, 5])) for length in shape]
        return dense_strides(larger, channels_last=rng.random() < 0.5)
    if layout == "permuted":
        return strides_in_order(shape, rng.permutation(len(shape)).tolist())
    if layout == "repeated":
        return tuple(s if rng.random() < 0.7 else 0 for s in dense_strides(shape))
    return dense_strides(shape)


def _sides(rng: Generator, most: int, least: int = 1) -> Any:
    """One integer, or two, from least to most."""
    two = rng.integers(least, most + 1, 2).tolist()
    return two[0] if rng.random() < 0.5 else tuple(two)


def _windows(rng: Generator, image: Operand) -> tuple[Any, ...]:
    """kernel_size, stride, padding."""
    kernel = _sides(rng, int(rng.choice([2, 3, 5, 8])))
    both = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    if rng.random() < 0.2:
        kernel = both = image.shape[-2:]
    stride = None if rng.random() < 0.3 else _sides(rng, 4)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in both) if rng.random() < 0.6 else 0
    return kernel, stride, padding


def draw_max(rng: Generator, **options: Any) -> Case:
    """An image and windows, dilated or not; padding now and then as wide as half of the dilated kernel."""
    image = draw_image(rng, **options)
    kernel, stride, padding = _windows(rng, image)
    dilation = _sides(rng, 3) if rng.random() < 0.4 else 1
    if dilation != 1 and rng.random() < 0.4:
        each = [v if isinstance(v, tuple) else (v, v) for v in (kernel, dilation)]
        padding = tuple(((k - 1) * d + 1) // 2 for k, d in zip(*each, strict=True))
    return Case((image,), (kernel, stride, padding, dilation, bool(rng.random() < 0.3)))


def draw_average(rng: Generator, **options: Any) -> Case:
    """An image and windows, and what divides."""
    image = draw_image(rng, **options)
    divisor = None
    if rng.random() < 0.3:
        divisor = int(rng.choice([1, 2, 3, 5, 7, 41, -3, int(rng.integers(1, 1000)), 2**24 + 1, 2**31 - 1]))
    return Case((image,), (*_windows(rng, image), bool(rng.random() < 0.3), bool(rng.random() < 0.5), divisor))


def draw_adaptive(rng: Generator, **options: Any) -> Case:
    """An image and a size: 1, the image's, a divisor of it, or any."""
    image = draw_image(rng, **options)
    h, w = image.shape[-2:]
    kind = rng.integers(4)
    size: Any = 1
    if kind == 1:
        size = tuple(int(rng.choice([d for d in range(1, n + 1) if n % d == 0])) for n in (h, w))
    elif kind > 1:
        size = _sides(rng, int(rng.choice([2, 7, 12])))
    return Case((image,), (size,))


def draw_row(rng: Generator, **options: Any) -> Case:
    """A tensor (N, C, L) or (C, L), with windows."""
    image = draw_image(rng, **options)
    row = image._replace(shape=(*image.shape[:-2], image.shape[-1]), strides=(*image.strides[:-2], image.strides[-1]))
    kernel = int(rng.integers(1, 7))
    stride = None if rng.random() < 0.3 else int(rng.integers(1, 5))
    dilation = int(rng.integers(1, 4)) if rng.random() < 0.4 else 1
    return Case((row,), (kernel, stride, int(rng.integers(0, kernel // 2 + 1)), dilation, bool(rng.random() < 0.3)))


def draw_mean(rng: Generator, *, large: bool = False, **options: Any) -> Case:
    """A tensor of one to five axes, and some of them: often H and W, or the last ones, or all; large for threads."""
    image = draw_image(rng, **options)
    if large or rng.random() < 0.1:
        image = draw_image(rng, **{"most": 60, **options, "n": int(rng.choice([33_000, 60_000, 150_000]))})
    if rng.random() < 0.3:
        image = _fewer_or_more(rng, image)
    ndim = len(image.shape)
    kind = rng.integers(5)
    dim: Any = (2, 3) if ndim == 4 else None
    if kind == 1:
        dim = tuple(range(int(rng.integers(ndim + 1)) - ndim, 0))
    elif kind > 1 and ndim:
        dim = tuple(rng.choice(ndim, int(rng.integers(1, ndim + 1)), replace=False).tolist())
        dim = dim[0] if len(dim) == 1 and rng.random() < 0.5 else dim
    if 0 in image.shape:  # not a mean of nothing
        image, dim = draw_image(rng, **options, axes=3), (0,)
    return Case((image,), (dim, bool(rng.random() < 0.5)))


def _mean_torch(case: Case) -> Answer:
    import torch

    x, (dim, keepdim) = case.operands[0].torch(), case.args
    return everything(torch.mean(x, () if dim is None else dim, keepdim))


def draw_interpolation(rng: Generator, **options: Any) -> Case:
    """An image of four axes, and a size or a factor."""
    image = draw_image(rng, **{"most": 12, "axes": 4, "n": int(rng.choice([100, 1000, 4000])), **options})
    mode = str(rng.choice(["nearest", "nearest-exact", "bilinear", "bilinear"]))
    size: Any = _sides(rng, int(rng.choice([3, 12, 40]))) if rng.random() < 0.5 else None
    if rng.random() < 0.1:
        size = image.shape[-2:]
    factor: Any = None
    if size is None:
        factor = [
            float(f) for f in np.where(rng.random(2) < 0.5, rng.choice([1, 2, 3, 0.5, 1.5], 2), rng.uniform(0.3, 4, 2))
        ]
        factor = factor[0] if rng.random() < 0.5 else factor
    align = bool(rng.random() < 0.5) if mode == "bilinear" and rng.random() < 0.7 else None
    return Case((image,), (size, factor, mode, align))


# Shapes: what is called, with what, and which of its results is looked at


def draw_shape(rng: Generator, **options: Any) -> Case:
    """A tensor of one to five axes, and one function of qlearn.elementwise.shapes with its arguments."""
    image = draw_image(rng, **options)
    name = str(rng.choice(np.array(list(SHAPES))))
    if name == "channel_shuffle":
        image = image._replace(flat=image.flat.astype(np.uint8), zero_point=7)
    elif rng.random() < 0.5:
        image = _fewer_or_more(rng, image)
    args = SHAPES[name](rng, image)
    return Case((image,), (name, *args))


def _fewer_or_more(rng: Generator, image: Operand) -> Operand:
    """Some axes dropped, or one of length 1 added with any stride."""
    axes = [axis for axis, length in enumerate(image.shape) if rng.random() < 0.7 or not length]
    shape, strides = ([whole[axis] for axis in axes] for whole in (image.shape, image.strides))
    if rng.random() < 0.3:
        at = int(rng.integers(len(axes) + 1))
        shape.insert(at, 1)
        strides.insert(at, int(rng.integers(0, 50)))
    return image._replace(shape=tuple(shape), strides=tuple(strides))


def _dim(rng: Generator, ndim: int) -> int:
    return int(rng.integers(-max(ndim, 1), max(ndim, 1)))


def _reshape(rng: Generator, image: Operand) -> tuple[Any, ...]:
    """Neighboring axes merged, some split; a length left to be found."""
    shape: list[int] = []
    for n in image.shape:
        if shape and rng.random() < 0.4:
            shape[-1] *= n
        elif n > 1 and rng.random() < 0.3:
            d = int(rng.choice([d for d in range(1, n + 1) if n % d == 0]))
            shape += [d, n // d]
        else:
            shape.append(n)
    if rng.random() < 0.3:
        shape.insert(int(rng.integers(len(shape) + 1)), 1)
    if shape and rng.random() < 0.3:
        shape[int(rng.integers(len(shape)))] = -1
    return (shape,)


def _flatten(rng: Generator, image: Operand) -> tuple[Any, ...]:
    ndim = max(len(image.shape), 1)
    start = int(rng.integers(ndim))
    return (1, -1) if ndim > 1 and rng.random() < 0.5 else (start, int(rng.integers(start, ndim)))


def _slice(rng: Generator, n: int) -> slice:
    start, stop = (None if rng.random() < 0.3 else int(rng.integers(-n - 1, n + 2)) for _ in "ab")
    return slice(start, stop, int(rng.choice([1, 1, 2, 3])) if rng.random() < 0.7 else None)


def _index(rng: Generator, image: Operand) -> tuple[Any, ...]:
    kinds = [int(rng.integers(-n, n)) if n and rng.random() < 0.2 else _slice(rng, n) for n in image.shape]
    cut = int(rng.integers(len(kinds) + 1))
    if rng.random() < 0.5:
        return ((*kinds[:cut], ...) if rng.random() < 0.5 else tuple(kinds[:cut]),)
    return ((..., *kinds[cut:]),)


def _sections(rng: Generator, image: Operand) -> tuple[Any, ...]:
    dim = _dim(rng, len(image.shape))
    length = image.shape[dim] if image.shape else 1
    if rng.random() < 0.5:
        cuts = sorted(rng.integers(0, length + 1, int(rng.integers(0, 4))).tolist())
        return (np.diff([0, *cuts, length]).tolist(), dim)
    return (int(rng.integers(1, length + 3)), dim)


SHAPES: dict[str, Any] = {
    "reshape": _reshape,
    "flatten": _flatten,
    "permute": lambda rng, image: (rng.permutation(len(image.shape)).tolist(),),
    "transpose": lambda rng, image: (_dim(rng, len(image.shape)), _dim(rng, len(image.shape))),
    "squeeze": lambda rng, image: () if rng.random() < 0.3 else (_dim(rng, len(image.shape)),),
    "unsqueeze": lambda rng, image: (_dim(rng, len(image.shape) + 1),),
    "split": _sections,
    "chunk": lambda rng, image: (int(rng.integers(1, 9)), _dim(rng, len(image.shape))),
    "getitem": _index,
    "contiguous": lambda rng, image: (str(rng.choice(["contiguous_format", "channels_last"])),),
    "channel_shuffle": lambda rng, image: (int(rng.choice([d for d in range(1, 9)])),),
}


def _shape_torch(case: Case) -> Answer:
    import torch

    x, (name, *args) = case.operands[0].torch(), case.args
    if name == "getitem":
        return _all_of(x[args[0]])
    if name == "contiguous":
        return _all_of(x.contiguous(memory_format=getattr(torch, args[0])))
    return _all_of(getattr(torch, name)(x, *args))


def _shape_qlearn(case: Case, machine: Machine) -> Answer:
    name, *args = case.args
    return _all_of(getattr(qlearn, name)(case.operands[0].qtensor(), *args))


# What is compared


def everything(t: Any) -> Answer:
    """``answer`` with the strides of axes of length 1 too, for they tell the next operator what is channels_last."""
    values, (_, *about) = answer(t)
    strides = tuple(t.stride() if hasattr(t, "stride") else t.strides)
    return Answer(values, (strides if values.size else (), *about))


def _all_of(t: Any) -> Answer:
    """Of one tensor or several."""
    if not isinstance(t, list | tuple):
        return everything(t)
    found = [everything(one) for one in t]
    return Answer(
        np.concatenate([one.values.ravel() for one in found]), tuple((one.values.shape, one.about) for one in found)
    )


def _torch(name: str, case: Case) -> Answer:
    import torch

    return everything(getattr(torch.nn.functional, name)(case.operands[0].torch(), *case.args))


def _qlearn(name: str, case: Case, machine: Machine) -> Answer:
    return everything(getattr(qlearn, name)(case.operands[0].qtensor(), *case.args, machine=machine))


def _line(name: str, draw: Any, part: float = 1.0) -> Operator:
    """Copies into another memory format have AVX-512 kernels, so none is ``elementwise``."""
    return Operator(draw, partial(_torch, name), partial(_qlearn, name), part, elementwise=False)


POOLING: dict[str, Operator] = {
    "max_pool1d": _line("max_pool1d", draw_row, 0.2),
    "max_pool2d": _line("max_pool2d", draw_max),
    "avg_pool2d": _line("avg_pool2d", draw_average, 0.3),
    "adaptive_avg_pool2d": _line("adaptive_avg_pool2d", draw_adaptive),
    "mean": Operator(draw_mean, _mean_torch, partial(_qlearn, "mean"), 0.05, elementwise=False),
    "interpolate": _line("interpolate", draw_interpolation),
    "shapes": Operator(draw_shape, _shape_torch, _shape_qlearn, elementwise=False),
}
