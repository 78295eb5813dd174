"""qnnpack_add.py: QNNPACK's integers for quint8, each step of them, and what QNNPACK refuses."""

from typing import Any

import numpy as np
import pytest
from test_sums_and_products import table

import drawing
import qlearn
from oracle import COMPARED, DIFFERING, ask, compare, running
from qlearn import QTensor
from qlearn.elementwise import qnnpack_add
from recorded import Source, two

QNNPACK = running("qnnpack", "AVX2")


def totals(cases: list[Any], threads: int) -> list[Any]:
    """PyTorch's sums on the engine qnnpack."""
    import torch

    torch.set_num_threads(threads)
    make = torch._make_per_tensor_quantized_tensor
    found = []
    for a, b, scale, zero_point in cases:
        qa, qb = (make(torch.from_numpy(codes), s, z) for codes, s, z in (a, b))
        found.append(torch.ops.quantized.add(qa, qb, scale, zero_point).int_repr().numpy())
    return found


@pytest.mark.torch
@pytest.mark.parametrize("threads", [1, 2])
def test_small_scales(threads: int, rng: np.random.Generator) -> None:
    """Ratios down to 2**-14, where the shift reaches 35; 1 to 7 elements left of 4,096, and more."""
    cases = []
    for exponent in range(-14, -7):
        for n in (1, 7, 8, 9, 15, 64, 4095, 4096, 4097, 4103, 4104, 8195):
            so = float(rng.uniform(0.5, 2))
            sa = so * 2.0**exponent * float(rng.uniform(1, 1.99))
            sb = max(so * 2.0**-14, sa * float(rng.uniform(0.1, 1))) * 1.0001
            codes = rng.integers(0, 256, (2, n), dtype=np.uint8)
            za, zb, zo = rng.integers(0, 256, 3).tolist()
            cases.append(((codes[0], sa, za), (codes[1], sb, zb), so, zo))
    theirs = ask("AVX2", totals, cases, threads, engine="qnnpack", elementwise=True)
    for (a, b, so, zo), expected in zip(cases, theirs, strict=True):
        total = qlearn.add(QTensor(*a, "quint8"), QTensor(*b, "quint8"), so, zo, machine=QNNPACK)
        compare("add", total.int_repr(), expected, (a[1:], b[1:], so, zo, len(expected)))


def test_fixed_point() -> None:
    """ratio = multiplier * 2**-shift; the larger multiplier has 22 bits."""
    assert qnnpack_add.fixed_point(1.0, 1.0, 1.0) == (2**21, 2**21, 21)
    assert qnnpack_add.fixed_point(0.5, 0.25, 1.0) == (2**21, 2**20, 22)
    assert qnnpack_add.fixed_point(0.05, 0.05, 0.1) == (2**21, 2**21, 22)
    assert qnnpack_add.fixed_point(0.75, 1e-5, 0.1)[2] == 19


def test_shift_right_sends_ties_away_from_zero() -> None:
    x = np.arange(-40, 41)
    for shift in (1, 2, 3):
        expected = np.sign(x) * np.floor(np.abs(x) / 2**shift + 0.5)
        for vector in (True, False):
            assert qnnpack_add.shift_right(x, shift, vector=vector).tolist() == expected.tolist()


def wrong_steps() -> list[tuple[str, Any]]:
    """A step, and a wrong form of it."""
    right = qnnpack_add.fixed_point

    def other_shift(a: float, b: float, s: float) -> Any:
        ma, mb, shift = right(a, b, s)
        return ma >> 1, mb >> 1, shift - 1

    def truncated(a: float, b: float, s: float) -> Any:
        shift = right(a, b, s)[2]
        ratios = np.array([a, b], np.float32) / np.float32(s)
        return *np.ldexp(ratios, shift).astype(int).tolist(), shift

    def in_double(a: float, b: float, s: float) -> Any:
        shift = right(a, b, s)[2]
        return round(a / s * 2**shift), round(b / s * 2**shift), shift

    def by_reciprocal(a: float, b: float, s: float) -> Any:
        ratios = np.array([a, b], np.float32) * (np.float32(1) / np.float32(s))
        shift = right(a, b, s)[2]
        return *np.rint(np.ldexp(ratios, shift)).astype(int).tolist(), shift

    def up(x: Any, shift: int, vector: bool) -> Any:
        return (x + (1 << (shift - 1))) >> shift

    def to_even(x: Any, shift: int, vector: bool) -> Any:
        return np.rint(x / 2**shift).astype(int)

    def cut(x: Any, shift: int, vector: bool) -> Any:
        return x >> shift

    fixed = [("fixed_point", form) for form in (other_shift, truncated, in_double, by_reciprocal)]
    return [*fixed, *(("shift_right", form) for form in (up, to_even, cut))]


@pytest.mark.parametrize("source", two("elementwise", "avx2"), ids=str)
@pytest.mark.parametrize(("step", "wrong"), wrong_steps())
def test_step_is_needed(source: Source, step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's recorded tables tell each wrong step from the right one."""
    monkeypatch.setattr(qnnpack_add, step, wrong)
    machine = source.machine("qnnpack")
    assert any(
        (table("add", machine, "body", params) != source.arrays[f"qnnpack/{i}"]).any()
        for i, params in enumerate(source.arrays["qnnpack"])
    )


# What it leaves to the float kernel, and what it refuses


def test_left_to_the_float_kernel(rng: np.random.Generator) -> None:
    """qint8, and shapes that differ, are added as on fbgemm, where fixed point gives other integers."""
    a, b = (QTensor(rng.integers(0, 256, (1, 6400), dtype=np.uint8), 0.05, 128, "quint8") for _ in "ab")
    row = QTensor(b.int_repr()[0], 0.05, 128, "quint8")
    fbgemm = running("fbgemm", "AVX2")
    same = qlearn.add(a, row, 0.1, 128, machine=fbgemm).int_repr()
    assert np.array_equal(qlearn.add(a, row, 0.1, 128, machine=QNNPACK).int_repr(), same)
    assert not np.array_equal(qlearn.add(a, b, 0.1, 128, machine=QNNPACK).int_repr(), same)
    signed = [QTensor(t.int_repr().view(np.int8), 0.05, 0, "qint8") for t in (a, b)]
    totals = [qlearn.add(*signed, 0.1, 0, machine=machine).int_repr() for machine in (QNNPACK, fbgemm)]
    assert np.array_equal(*totals)


REFUSALS: list[tuple[str, str, dict[str, Any]]] = [
    ("add", "a and b must have at least one dimension on the engine qnnpack", {"shape": ()}),
    ("add", r"a and b must not be empty on the engine qnnpack, got shape \(3, 0\)", {"shape": (3, 0)}),
    ("add_relu", "zero_point must be below 255 for add_relu on the engine qnnpack, got 255", {"zero_point": 255}),
    ("add", r"a.q_scale\(\) must be a normal float32 number", {"sa": 1e-39, "sb": 1e-39, "scale": 1e-38}),
    ("add", "scale must be a normal float32 number", {"sa": 2e-38, "sb": 2e-38, "scale": 1e-38}),
    ("add", r"a.q_scale\(\) / scale must be in \[2\*\*-14, 2\*\*8\)", {"sa": 256.0, "scale": 1.0}),
    ("add", r"b.q_scale\(\) / scale must be in \[2\*\*-14, 2\*\*8\)", {"sb": 2.0**-15, "scale": 1.0}),
]


@pytest.mark.parametrize(("name", "message", "given"), REFUSALS)
def test_what_qnnpack_refuses(name: str, message: str, given: dict[str, Any]) -> None:
    a, b, args = refused(given)
    with pytest.raises(ValueError, match=message):
        getattr(qlearn, name)(a.qtensor(), b.qtensor(), *args, machine=QNNPACK)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "message", "given"), REFUSALS)
def test_pytorch_refuses_it_too(name: str, message: str, given: dict[str, Any]) -> None:
    words = ask("AVX2", refusal, name, given, engine="qnnpack", elementwise=True)
    COMPARED["refusals of qnnpack"] += 1
    DIFFERING["refusals of qnnpack"] += words is None
    assert words is not None


@pytest.mark.torch
@pytest.mark.parametrize("given", [{"sa": 255.9}, {"sa": 2.0**-14}, {"sb": 2.0**-14}, {"zero_point": 255}])
def test_the_edges_are_taken(given: dict[str, Any]) -> None:
    a, b, args = refused(given | {"scale": 1.0})
    assert ask("AVX2", refusal, "add", given | {"scale": 1.0}, engine="qnnpack", elementwise=True) is None
    qlearn.add(a.qtensor(), b.qtensor(), *args, machine=QNNPACK)


def refused(given: dict[str, Any]) -> Any:
    """Two operands of a few elements, and scale and zero point of the result."""
    wanted = {"shape": (9,), "sa": 0.5, "sb": 0.5, "scale": 0.5, "zero_point": 3} | given
    shape, flat = wanted["shape"], np.arange(9, dtype=np.uint8)
    strides = tuple(range(1, 1 + len(shape)))[::-1]
    a, b = (drawing.Operand(flat, shape, strides, wanted[key], 7) for key in ("sa", "sb"))
    return a, b, (wanted["scale"], wanted["zero_point"])


def refusal(name: str, given: dict[str, Any]) -> str | None:
    """PyTorch's message, or None."""
    import torch

    a, b, args = refused(given)
    try:
        getattr(torch.ops.quantized, name)(a.torch(), b.torch(), *args)
    except RuntimeError as error:
        return str(error)
    return None
