"""To compare an operator with PyTorch: draw inputs, ask PyTorch, ask qlearn.

An input lies in memory as it does in PyTorch: a flat array of codes, a shape, and strides. Each operator has a function
that draws its inputs, one that gives PyTorch's answer, and one that gives qlearn's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import qlearn
from qlearn import Machine, QTensor
from qlearn.codes.affine import DTYPES
from qlearn.machine.layout import dense_strides, strides_in_order
from qlearn.machine.machine import ENGINES

Array = npt.NDArray[Any]
Generator = np.random.Generator
LAYOUTS = ("contiguous", "channels_last", "mixed", "sliced", "transposed", "broadcast", "expanded")
TIE_RICH = (0.05, 0.1, 0.037, 0.0185, 0.074, 0.5, 1.0, 0.009925744496285915, 0.02780967578291893)
REFUSED = "refused"


class Operand(NamedTuple):
    """A per-tensor quantized tensor anywhere in memory."""

    flat: Array
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    scale: float
    zero_point: int

    def torch(self) -> Any:
        """As a torch.Tensor."""
        import torch

        flat = torch._make_per_tensor_quantized_tensor(torch.from_numpy(self.flat), self.scale, self.zero_point)
        return flat.as_strided(self.shape, self.strides)

    def qtensor(self) -> QTensor:
        """As a QTensor."""
        strides = [stride * self.flat.itemsize for stride in self.strides]
        codes = np.lib.stride_tricks.as_strided(self.flat, self.shape, strides)
        name = next(name for name, kind in DTYPES.items() if kind == self.flat.dtype)
        return QTensor(codes, self.scale, self.zero_point, name)


class Case(NamedTuple):
    """What an operator is called with."""

    operands: tuple[Operand, ...]
    args: tuple[Any, ...]


class Answer(NamedTuple):
    """What it returns: numbers, and everything else that must be equal."""

    values: Array
    about: tuple[Any, ...]


def answer(t: Any) -> Answer:
    """Of a quantized torch.Tensor or a QTensor: codes; strides of axes longer than 1, scale and zero point."""
    codes, strides = np.asarray(t.int_repr()), t.stride() if hasattr(t, "stride") else t.strides
    long = tuple(stride for stride, length in zip(strides, codes.shape, strict=True) if length != 1 and codes.size)
    return Answer(codes, (long, t.q_scale(), t.q_zero_point(), str(t.dtype).removeprefix("torch.")))


@dataclass(frozen=True)
class Operator:
    """One line of the conformance table; ``torch`` and ``qlearn`` take a case, the latter a machine too."""

    draw: Callable[..., Any]
    torch: Callable[[Any], Answer]
    qlearn: Callable[[Any, Machine], Answer]
    part: float = 1.0  # of the outputs that are asked for: less where an output is slow
    elementwise: bool = True  # all its kernels are registered without an AVX-512 version
    engines: tuple[str, ...] = ENGINES  # those that have it


def compare(operator: Operator, case: Any, machine: Machine) -> tuple[int, int, str]:
    """Outputs compared, how many differ, and the first difference in words; an input that both refuse counts 0.

    Where qlearn says NotImplementedError, PyTorch uses memory that is not its own, or nobody compared: it is not asked.
    """
    theirs: Answer | str
    ours: Answer | str
    try:
        ours = operator.qlearn(case, machine)
    except ValueError as error:
        ours = f"{REFUSED}: {error}"
    except NotImplementedError:
        return 0, 0, ""
    try:
        theirs = operator.torch(case)
    except RuntimeError as error:
        theirs = f"{REFUSED}: {error}".splitlines()[0]
    if isinstance(ours, str) or isinstance(theirs, str):
        both = isinstance(ours, str) and isinstance(theirs, str)
        return (0, 0, "") if both else (1, 1, f"{machine}: PyTorch {theirs}, qlearn {ours}; {_in_words(case)}")
    if ours.about != theirs.about or ours.values.shape != theirs.values.shape:
        about = f"PyTorch {theirs.values.shape, *theirs.about}, qlearn {ours.values.shape, *ours.about}"
        return theirs.values.size, max(theirs.values.size, 1), f"{machine}: {about}; {_in_words(case)}"
    same = (ours.values == theirs.values) | ((ours.values != ours.values) & (theirs.values != theirs.values))
    differ = np.argwhere(~same)
    if not len(differ):
        return ours.values.size, 0, ""
    first = tuple(differ[0].tolist())
    values = f"at {first}: PyTorch {theirs.values[first]!r}, qlearn {ours.values[first]!r}"
    return ours.values.size, len(differ), f"{machine}: {len(differ)} differ, {values}; {_in_words(case)}"


def _in_words(case: Any) -> str:
    if not isinstance(case, Case):
        return str(case)[:500]
    return f"{[(*operand[1:], operand.flat.dtype.name) for operand in case.operands]}, {case.args}"


# Drawing scales and zero points


def scales(rng: Generator, n: int) -> list[float]:
    """n scales: random, or equal up to a power of two, or round numbers a few float32 steps from such a relation."""
    kind = rng.integers(3)
    if kind == 0:
        return [float(10.0 ** rng.uniform(-4, 1)) for _ in range(n)]
    first = float(rng.choice([*TIE_RICH, 10.0 ** rng.uniform(-4, 1)]))
    related = [first * 2.0 ** int(rng.integers(-2, 3)) for _ in range(n)]
    if kind == 1:
        return related
    bits = np.array(related, np.float32).view(np.int32) + rng.integers(-3, 4, n, dtype=np.int32)
    return [float(scale) for scale in bits.view(np.float32)]


def _dtype(rng: Generator) -> str:
    return str(rng.choice(np.array(list(DTYPES)), p=[0.45, 0.45, 0.1]))


def zero_point(rng: Generator, dtype: str) -> int:
    """A zero point within dtype: any, an edge, or a common one."""
    info = np.iinfo(DTYPES[dtype])
    if dtype == "qint32":
        return int(
            rng.choice(
                [
                    0,
                    1,
                    -3,
                    75,
                    int(rng.integers(-300, 300)),
                    int(rng.integers(info.min, info.max + 1)),
                    info.min,
                    info.max,
                ]
            )
        )
    if rng.random() < 0.5:
        return int(rng.integers(info.min, info.max + 1))
    return int(np.clip(rng.choice([info.min, info.max, 0, 1, 3, 75, 128]), info.min, info.max))


def codes(rng: Generator, n: int, dtype: str) -> Array:
    """n codes, over the whole range; qint32 of any magnitude."""
    info = np.iinfo(DTYPES[dtype])
    drawn = rng.integers(info.min, info.max + 1, n)
    if dtype == "qint32":
        drawn >>= rng.integers(0, 32, n)
    return drawn.astype(DTYPES[dtype])


# Drawing shapes and strides


def size(rng: Generator) -> int:
    """A number of elements: small, near a multiple of 64, or near one where threads split."""
    kind = rng.integers(4)
    if kind == 0:
        return int(rng.integers(1, 201))
    if kind == 1:
        return int(64 * rng.integers(1, 40) + rng.integers(-1, 2))
    if kind == 2:
        return int(32768 * rng.integers(1, 4) + rng.integers(-70, 71))
    return int(rng.integers(200, 60_000))


def shape(rng: Generator, n: int, axes: int) -> tuple[int, ...]:
    """About n elements in so many axes, most of them short."""
    lengths, left = [], n
    for _ in range(axes - 1):
        lengths.append(min(left, int(rng.choice([1, 1, 2, 3, 7, 16, 33, 64, 65]))))
        left = max(1, left // lengths[-1])
    lengths.append(left)
    rng.shuffle(lengths)
    return tuple(lengths)


Place = tuple[tuple[int, ...], tuple[int, ...]]  # shape, strides


def places(rng: Generator, n: int, layout: str) -> tuple[Place, Place]:
    """Where two operands of about n elements lie."""
    axes = int(rng.choice([4, 4, 4, 5])) if layout in ("channels_last", "mixed") else int(rng.integers(1, 5))
    whole = shape(rng, n, axes)
    if layout == "contiguous":
        return (whole, dense_strides(whole)), (whole, dense_strides(whole))
    if layout == "channels_last":
        last = dense_strides(whole, channels_last=True)
        return (whole, last), (whole, last)
    if layout == "mixed":
        two = [dense_strides(whole), dense_strides(whole, channels_last=True)]
        rng.shuffle(two)
        return (whole, tuple(two[0])), (whole, tuple(two[1]))
    if layout == "sliced":
        return (whole, _sliced(rng, whole)), (whole, _sliced(rng, whole))
    if layout == "transposed":
        orders = [rng.permutation(axes).tolist() for _ in "ab"]
        order = orders[0] if rng.random() < 0.5 else orders[1]
        return (whole, strides_in_order(whole, orders[0])), (whole, strides_in_order(whole, order))
    if layout == "broadcast":
        a, b = (_shrunk(rng, whole) if rng.random() < 0.7 else whole for _ in "ab")
        return (a, _any_dense(rng, a)), (b, _any_dense(rng, b))
    assert layout == "expanded"
    return (whole, _expanded(rng, whole)), (whole, _expanded(rng, whole))


def _sliced(rng: Generator, lengths: Sequence[int]) -> tuple[int, ...]:
    """Strides of a slice: of a larger tensor, or with steps."""
    larger = [length + int(rng.choice([0, 0, 1, 5])) for length in lengths]
    last = len(lengths) in (4, 5) and rng.random() < 0.3
    return tuple(int(rng.choice([1, 1, 1, 2])) * stride for stride in dense_strides(larger, channels_last=last))


def _shrunk(rng: Generator, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to lengths."""
    missing = int(rng.integers(len(lengths) + 1)) if rng.random() < 0.3 else 0
    return tuple(1 if rng.random() < 0.4 else length for length in lengths[missing:])


def _any_dense(rng: Generator, lengths: tuple[int, ...]) -> tuple[int, ...]:
    kind = rng.integers(3)
    if kind == 0 and len(lengths) in (4, 5):
        return dense_strides(lengths, channels_last=True)
    if kind == 1:
        return strides_in_order(lengths, rng.permutation(len(lengths)).tolist())
    return dense_strides(lengths)


def _expanded(rng: Generator, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Strides with some axes repeated."""
    kept = [length if rng.random() < 0.6 else 1 for length in lengths]
    strides = dense_strides(kept)
    return tuple(stride if length == full else 0 for stride, length, full in zip(strides, kept, lengths, strict=True))


def operand(rng: Generator, place: Place, dtype: str, scale: float, zero: int | None = None) -> Operand:
    """Random codes at a place."""
    extent = 1 + sum((length - 1) * stride for length, stride in zip(*place, strict=True)) if prod(place[0]) else 0
    return Operand(codes(rng, extent, dtype), *place, scale, zero_point(rng, dtype) if zero is None else zero)


# Pairs: add and mul


def every_pair(rng: Generator, dtype: str, step: int) -> tuple[Operand, ...]:
    """All 65,536 pairs of 8-bit codes, side by side (a vector body), or with gaps (step 2: all tail)."""
    flat = np.arange(256, dtype=np.uint8).view(DTYPES[dtype])
    pair = (flat.repeat(256), np.tile(flat, 256))
    found = [np.zeros(65536 * step, DTYPES[dtype]) for _ in pair]
    for whole, values in zip(found, pair, strict=True):
        whole[::step] = values
    return tuple(Operand(whole, (65536,), (step,), 1.0, zero_point(rng, dtype)) for whole in found)


def draw_pair(
    rng: Generator,
    *,
    product: bool = False,
    dtype: str | None = None,
    n: int = 0,
    layout: str = "",
    step: int = 0,
) -> Case:
    """Two operands with the result's scale and zero point: every pair of codes, or n random ones in some layout."""
    dtype = dtype or (str(rng.choice(["quint8", "qint8"])) if step else _dtype(rng))
    sa, sb, so = scales(rng, 3)
    if product:
        so = float(np.clip(sa * sb * 2.0 ** rng.integers(2, 9), 1e-7, 1e4)) if rng.random() < 0.8 else so
    if n == 0 and dtype != "qint32" and not step and rng.random() < 0.7:
        step = int(rng.choice([1, 1, 2]))
    if step:
        two = every_pair(rng, dtype, step)
        operands = tuple(t._replace(scale=s) for t, s in zip(two, (sa, sb), strict=True))
    else:
        two_places = places(rng, n or size(rng), layout or str(rng.choice(LAYOUTS)))
        operands = tuple(operand(rng, place, dtype, s) for place, s in zip(two_places, (sa, sb), strict=True))
    return Case(operands, (so, zero_point(rng, dtype)))


def pair_torch(name: str, case: Case) -> Answer:
    import torch

    return answer(getattr(torch.ops.quantized, name)(*(t.torch() for t in case.operands), *case.args))


def pair_qlearn(name: str, case: Case, machine: Machine) -> Answer:
    return answer(getattr(qlearn, name)(*(t.qtensor() for t in case.operands), *case.args, machine=machine))


# One tensor: scalars, ReLU


def draw_one(rng: Generator, *, dtype: str | None = None, n: int = 0, layout: str = "") -> Case:
    """One operand and a real number: small, a multiple of the scale, a half of it, large, or zero."""
    dtype = dtype or _dtype(rng)
    (scale,) = scales(rng, 1)
    place = places(rng, n or size(rng), layout or str(rng.choice(LAYOUTS)))[0]
    k = float(rng.integers(-700, 700))
    c = rng.choice(
        np.array([k * scale, (k + 0.5) * scale, float(rng.normal()), float(1e4 * rng.normal()), 0.0, 1e4 * k * scale])
    )
    return Case((operand(rng, place, dtype, scale),), (float(c),))


def relu_torch(case: Case) -> Answer:
    import torch

    return answer(torch.relu(case.operands[0].torch()))


def relu_qlearn(case: Case, machine: Machine) -> Answer:
    return answer(qlearn.relu(case.operands[0].qtensor(), machine=machine))


# cat


def draw_cat(rng: Generator, *, dtype: str | None = None, n: int = 0, layout: str = "") -> Case:
    """Tensors that differ along one axis, channels_last as a rule; some share the result's parameters."""
    dtype = dtype or _dtype(rng)
    last = layout == "channels_last" or (not layout and rng.random() < 0.7)
    axes = 4 if last else int(rng.integers(1, 6))
    whole = list(shape(rng, -(-(n or size(rng)) // 40), axes))
    dim = 1 if last and rng.random() < 0.9 else int(rng.integers(-axes, axes))
    count = int(rng.integers(1, 4))
    *own, scale = scales(rng, count + 1)
    zero = zero_point(rng, dtype)
    operands = []
    for s in own:
        whole[dim] = int(rng.choice([1, 3, 7, 8, 9, 16, 31, 32, 33, 40, 71, int(rng.integers(1, 130))]))
        lengths = tuple(whole)
        strides = dense_strides(lengths, channels_last=last) if rng.random() < 0.95 else _sliced(rng, lengths)
        same = rng.random() < 0.2
        operands.append(operand(rng, (lengths, strides), dtype, scale if same else s, zero if same else None))
    return Case(tuple(operands), (dim, scale, zero))


def cat_torch(case: Case) -> Answer:
    import torch

    dim, scale, zero = case.args
    return answer(torch.ops.quantized.cat([t.torch() for t in case.operands], dim, scale, zero))


def cat_qlearn(case: Case, machine: Machine) -> Answer:
    dim, scale, zero = case.args
    return answer(qlearn.cat([t.qtensor() for t in case.operands], scale, zero, dim, machine=machine))


# Quantize and dequantize


class Reals(NamedTuple):
    """Real numbers to quantize."""

    x: Array
    scale: Any
    zero_point: Any
    axis: int | None
    dtype: str


def draw_reals(rng: Generator, *, channels: bool = False, dtype: str | None = None, n: int = 0) -> Reals:
    """Real numbers, most of them within a few float32 steps of a tie or of a code."""
    dtype = dtype or _dtype(rng)
    lines = int(rng.integers(1, 9)) if channels else 1
    n = -(-(n or size(rng)) // lines)
    info = np.iinfo(DTYPES[dtype])
    own = np.array(scales(rng, lines))
    zeros = np.array([zero_point(rng, dtype) for _ in own])
    reach = (-(2**26), 2**26) if dtype == "qint32" else (2 * info.min - 300, 2 * info.max + 300)
    near = rng.integers(*reach, (lines, n)) + rng.choice([0, 0.5, 0.5, rng.random()], (lines, n))
    x = (near * own[:, None]).astype(np.float32)
    x = (x.view(np.int32) + rng.integers(-3, 4, x.shape, dtype=np.int32)).view(np.float32)
    if channels:
        return Reals(x, own, zeros, 0, dtype)
    return Reals(x[0], float(own[0]), int(zeros[0]), None, dtype)


def quantize_torch(case: Reals) -> Answer:
    import torch

    x, scale, zero, axis, dtype = case
    kind = getattr(torch, dtype)
    if axis is None:
        return Answer(torch.quantize_per_tensor(torch.from_numpy(x), scale, zero, kind).int_repr().numpy(), ())
    s, z = torch.from_numpy(scale), torch.from_numpy(zero)
    return Answer(torch.quantize_per_channel(torch.from_numpy(x), s, z, axis, kind).int_repr().numpy(), ())


def quantize_qlearn(case: Reals, machine: Machine) -> Answer:
    x, scale, zero, axis, dtype = case
    if axis is None:
        return Answer(qlearn.quantize_per_tensor(x, scale, zero, dtype, machine=machine).int_repr(), ())
    return Answer(qlearn.quantize_per_channel(x, scale, zero, axis, dtype, machine=machine).int_repr(), ())


def draw_codes(rng: Generator, *, channels: bool = False, dtype: str | None = None, n: int = 0) -> Reals:
    """Codes to dequantize, in the place of x."""
    case = draw_reals(rng, channels=channels, dtype=dtype, n=n)
    return case._replace(x=codes(rng, case.x.size, case.dtype).reshape(case.x.shape))


def dequantize_torch(case: Reals) -> Answer:
    import torch

    q, scale, zero, axis, _ = case
    if axis is None:
        return Answer(
            torch._make_per_tensor_quantized_tensor(torch.from_numpy(q), scale, zero).dequantize().numpy(), ()
        )
    s, z = torch.from_numpy(scale), torch.from_numpy(zero)
    made = torch._make_per_channel_quantized_tensor(torch.from_numpy(q), s, z, axis)
    return Answer(made.dequantize().numpy(), ())


def dequantize_qlearn(case: Reals, machine: Machine) -> Answer:
    q, scale, zero, axis, dtype = case
    return Answer(QTensor(q, scale, zero, dtype, axis).dequantize(), ())


# Observers


class Observed(NamedTuple):
    """An observer, its options, and what it sees."""

    name: str
    options: dict[str, Any]
    batches: list[Array]


OBSERVERS = (
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "PerChannelMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver",
    "HistogramObserver",
)


def draw_observed(rng: Generator) -> Observed:
    """An observer and one to three batches of real numbers."""
    name = str(rng.choice(OBSERVERS))
    kind = "per_channel" if "PerChannel" in name else "per_tensor"
    symmetric = rng.random() < 0.4
    options = {
        "dtype": "qint8" if symmetric or rng.random() < 0.3 else "quint8",
        "qscheme": f"{kind}_{'symmetric' if symmetric else 'affine'}",
        "reduce_range": bool(rng.integers(2)) and not symmetric,
    }
    lines = (int(rng.integers(1, 65)), int(rng.integers(20, 400)))
    spread, middle = 10.0 ** rng.uniform(-3, 3), rng.normal()
    batches = [
        (spread * rng.normal(middle, rng.uniform(0.5, 2), lines)).astype(np.float32)
        for _ in range(int(rng.integers(1, 4)))
    ]
    return Observed(name, options, batches)


def observed_torch(case: Observed) -> Answer:
    import torch

    options = {key: getattr(torch, v) if isinstance(v, str) else v for key, v in case.options.items()}
    observer = getattr(torch.ao.quantization, case.name)(**options)
    for x in case.batches:
        observer(torch.from_numpy(x))
    scale, zero = (part.numpy() for part in observer.calculate_qparams())
    return Answer(np.stack([scale.astype(np.float64), zero.astype(np.float64)]), ())


def observed_qlearn(case: Observed, machine: Machine) -> Answer:
    own = {"machine": machine} if case.name == "HistogramObserver" else {}
    observer = getattr(qlearn.observers, case.name)(**case.options, **own)
    for x in case.batches:
        observer(x)
    scale, zero = observer.calculate_qparams()
    return Answer(np.stack([np.asarray(scale, np.float64), np.asarray(zero, np.float64)]), ())
