"""iteration.py and Machine.path_map: which path computed each element, read off PyTorch's own sums."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import drawing
import oracle
from conformance import SIZES, SPLITS
from oracle import ask, compare
from qlearn import Machine, recordings
from qlearn.machine import iteration, machine
from qlearn.machine.layout import dense_strides, strides_in_order
from qlearn.machine.machine import BODY, TAIL
from qlearn.machine.releases import BOOK, release_of

Place = tuple[tuple[int, ...], tuple[int, ...]]  # shape, strides


class Telling(NamedTuple):
    """A pair of codes whose sum in the body is not the one in the tail."""

    pair: list[int]
    parameters: list[tuple[float, int]]  # of both codes and their sum
    body: int


def path_taken(total: Telling, a: Place, b: Place, threads: int) -> Any:
    """Where PyTorch's sum of one repeated pair is the one of the body; strides of the sum."""
    import torch

    torch.set_num_threads(threads)
    operands = []
    for code, own, (shape, strides) in zip(total.pair, total.parameters, (a, b), strict=False):
        extent = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        whole = torch._make_per_tensor_quantized_tensor(torch.full((extent,), code, dtype=torch.uint8), *own)
        operands.append(whole.as_strided(shape, strides))
    out = torch.ops.quantized.add(*operands, *total.parameters[2])
    return (out.int_repr().numpy() == total.body).astype(np.int8), out.stride()


def ours(result_strides: Any, a: Place, b: Place, threads: int) -> Any:
    """The same from path_map."""
    shape = np.broadcast_shapes(a[0], b[0])
    inputs = []
    for own, strides in (a, b):
        base = np.empty(1 + sum((n - 1) * s for n, s in zip(own, strides, strict=True)), np.uint8)
        inputs.append(iteration.broadcast_strides(np.lib.stride_tricks.as_strided(base, own, strides), shape))
    return Machine("x86", "AVX2", threads).path_map(shape, result_strides, *inputs)


def drawn(rng: np.random.Generator, layout: str) -> list[tuple[Place, Place, int]]:
    """Places of two operands, and a number of threads."""
    sizes = [*rng.choice(np.array(SIZES), 25).tolist(), 5000, *rng.choice(np.array(SPLITS), 2).tolist()]
    return [(*drawing.places(rng, n, layout), 1 + i % 3) for i, n in enumerate(sizes)]


def answers(cases: list[tuple[Place, Place, int]]) -> list[Any]:
    """PyTorch's paths of many cases."""
    release = oracle.RELEASE if oracle.RELEASE in map(release_of, recordings.releases("machine")) else BOOK
    r = recordings.load("machine", release)
    parameters = [(scale, int(zero_point)) for scale, zero_point in r["avx2/parameters"].tolist()]
    total = Telling(r["avx2/pair"].tolist(), parameters, int(r["avx2/values"][0]))
    return [path_taken(total, *case) for case in cases]


@pytest.mark.torch
@pytest.mark.parametrize("layout", drawing.LAYOUTS)
def test_path_map_is_the_one_that_pytorch_took(layout: str, rng: np.random.Generator) -> None:
    cases = drawn(rng, layout)
    for case, (theirs, strides) in zip(cases, ask("AVX2", answers, cases), strict=True):
        compare("path_map", ours(strides, *case), theirs, case)


WRONG: list[tuple[Any, str, Any]] = [
    (machine, "BLOCK", 32),
    (machine, "GRAIN", 16384),
    (machine, "row_length", lambda shape, operands, order: int(np.prod(shape))),  # no tail at the end of a row
    (machine, "row_length", lambda shape, operands, order: shape[order[0]]),  # axes are not merged
    (machine, "rows_are_vectors", lambda *args: True),
    (
        machine,
        "rows_are_vectors",
        lambda shape, operands, order: iteration._innermost(shape, operands, order)[1] == [1] * len(operands),
    ),
    (machine, "inner_to_outer", lambda shape, operands: list(range(len(shape)))[::-1]),
    (iteration, "_compare", lambda axis, other, shape, operands: operands[-1][axis] - operands[-1][other]),
    (iteration, "_in_one_row", lambda *args: True),
]


@pytest.mark.torch
@pytest.mark.parametrize(("module", "name", "wrong"), WRONG)
def test_rule_is_needed(module: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule, changed, gives other paths than PyTorch's for some of the same fixed inputs."""
    rng = np.random.default_rng(5)
    cases = [case for layout in drawing.LAYOUTS for case in drawn(rng, layout)]
    theirs = ask("AVX2", answers, cases)
    before = [np.array_equal(ours(strides, *case), paths) for case, (paths, strides) in zip(cases, theirs, strict=True)]
    assert all(before)
    if name == "BLOCK":
        default = Machine.path_map.__kwdefaults__ or {}
        monkeypatch.setitem(default, "block", wrong)
    else:
        monkeypatch.setattr(module, name, wrong)
    assert any(differs(strides, case, paths) for case, (paths, strides) in zip(cases, theirs, strict=True))


def differs(strides: Any, case: Any, paths: Any) -> bool:
    """Whether path_map fails, or gives something else."""
    try:
        return not np.array_equal(ours(strides, *case), paths)
    except ValueError:
        return True


def test_path_maps_of_known_shapes() -> None:
    one = Machine("x86", "AVX2", 1)
    assert one.path_map((65,)).tolist() == [BODY] * 64 + [TAIL]
    assert one.path_map((2, 65)).ravel().tolist() == [BODY] * 128 + [TAIL] * 2  # contiguous: one row of 130
    assert one.path_map((2, 65), (65, 1), (66, 1)).tolist() == [[BODY] * 64 + [TAIL]] * 2  # a slice: two rows
    assert one.path_map((2, 65), (65, 1), (130, 2)).tolist() == [[TAIL] * 65] * 2  # every second element
    assert one.path_map((2, 65), (65, 1), (65, 1), (0, 1)).tolist() == [[BODY] * 64 + [TAIL]] * 2  # b is broadcast
    assert one.path_map((65, 2), (2, 1), (2, 1), (1, 0)).tolist() == [[TAIL] * 2] * 65
    assert one.path_map((17,), block=16).tolist() == [BODY] * 16 + [TAIL]
    assert one.path_map(()).tolist() == TAIL and one.path_map((0, 3)).shape == (0, 3)


@given(st.integers(0, 200_000), st.integers(1, 6))
def test_contiguous_is_one_row(n: int, threads: int) -> None:
    machine = Machine("x86", "AVX2", threads)
    assert np.array_equal(machine.path_map((n,)) == BODY, machine.in_body(n))


@given(st.permutations([0, 1, 2]), st.permutations([3, 5, 7]))
def test_axes_are_visited_in_memory_order(order: list[int], shape: list[int]) -> None:
    assert iteration.inner_to_outer(shape, [strides_in_order(shape, order)]) == order


def test_broadcast_strides() -> None:
    x = np.empty((3, 1, 5), np.uint8)
    assert iteration.broadcast_strides(x, (2, 3, 4, 5)) == (0, 5, 0, 1)
    assert iteration.broadcast_strides(x, (3, 1, 5)) == dense_strides((3, 1, 5))


def test_bad_places() -> None:
    with pytest.raises(ValueError, match=r"strides must have 2 numbers each, one for each axis, got \(\(1,\),\)"):
        Machine.default().path_map((2, 3), (1,))
    with pytest.raises(ValueError, match=r"shape must not have negative lengths, got \(-1,\)"):
        Machine.default().path_map((-1,))
