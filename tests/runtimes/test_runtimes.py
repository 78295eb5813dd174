"""ONNX Runtime's and LiteRT's operators in NumPy, against what the two said; a Compute Library's, by its formula."""

import inspect
from types import ModuleType

import numpy as np
import pytest

import runtimes_cases
from qlearn.runtimes import arm_compute, litert, onnxruntime
from runtimes_cases import ours
from runtimes_recorded import provenance, recorded


def test_every_recorded_number_is_given():
    compared: dict[tuple[str, str], int] = {}
    for case, theirs in recorded():
        mine = ours(case)
        assert mine.dtype == theirs.dtype, case
        np.testing.assert_array_equal(mine, theirs, err_msg=str(case))
        key = (case.runtime, case.operator)
        compared[key] = compared.get(key, 0) + theirs.size
    assert sum(compared.values()) > 160_000
    assert len(compared) == 46, sorted(compared)


def test_the_recording_says_whose_answers_it_has():
    about = provenance()
    assert about["onnxruntime"] == "1.32.0"
    assert about["ai-edge-litert"] == "2.3.0"
    assert about["machine"] == "x86_64"


MUTANTS = (
    ("onnxruntime", "add", "np.rint(fma(a, ra, fma(b, rb, fixed)))", "np.floor(0.5 + fma(a, ra, fma(b, rb, fixed)))"),
    ("onnxruntime", "mul", "multiplier + np.float32(zc))", "multiplier) + np.float32(zc)"),
    ("litert", "add", "ma * x + mb * y + (1 << (shift - 1))", "ma * x + mb * y + (1 << (shift - 1)) - 1"),
    ("litert", "mul", "multiplier_of(np.float32(sa) *", "multiplier_of(np.float64(np.float32(sa)) *"),
    (
        "litert",
        "avg_pool",
        "np.where(total > 0, (total + n // 2) // n, -((n // 2 - total) // n))",
        "(total + n // 2) // n",
    ),
    ("litert", "requantize_linear", 'rounded(np.asarray(acc * real), "away")', "np.rint(acc * real)"),
    (
        "litert",
        "requantize_conv",
        "(high(x << max(exponent, 0), q) + ((1 << right) >> 1)) >> right",
        "divided(high(x << max(exponent, 0), q), right)",
    ),
)  # module, operator, a step of it, and a wrong form


@pytest.mark.parametrize(("module", "operator", "right", "wrong"), MUTANTS)
def test_each_step_is_needed(module, operator, right, wrong, monkeypatch):
    """With one step written otherwise some recorded number is missed."""
    source = inspect.getsource(getattr(runtimes_cases, module))
    assert source.count(right) == 1
    changed = ModuleType("changed")
    exec(compile(source.replace(right, wrong), "changed", "exec"), vars(changed))
    monkeypatch.setattr(runtimes_cases, module, changed)
    differ = [case for case, said in recorded() if case.operator == operator and (ours(case) != said).any()]
    assert differ


def test_what_is_refused_is_named():
    q = np.zeros(4, np.int8)
    with pytest.raises(TypeError, match="y_zero_point must be a NumPy uint8 or int8"):
        onnxruntime.quantize_linear(np.zeros(3, np.float32), 0.1, 0)
    with pytest.raises(ValueError, match=r"kernel_shape must divide the image, got \(2, 2\) for 3 x 4"):
        onnxruntime.qlinear_average_pool(np.zeros((1, 1, 3, 4), np.uint8), 0.1, np.uint8(0), 0.1, np.uint8(0), (2, 2))
    with pytest.raises(ValueError, match="kernel must be one of reference, optimized, xnnpack, got 'fast'"):
        litert.quantize(np.zeros(3, np.float32), 0.1, 0, kernel="fast")
    with pytest.raises(ValueError, match="operator must be conv_2d or fully_connected, got 'matmul'"):
        litert.requantize(np.zeros(3, np.int32), 0.1, 0.1, (0.1, 0), kernel="reference", operator="matmul")
    for call in (
        lambda: litert.average_pool_2d(q, kernel="xnnpack"),
        lambda: litert.hard_swish(q, (0.1, 0), (0.1, 0), kernel="xnnpack"),
        lambda: litert.leaky_relu(q, (0.1, 0), (0.1, 0), 0.1, kernel="xnnpack"),
    ):
        with pytest.raises(ValueError, match="kernel must be reference or optimized"):
            call()
    with pytest.raises(ValueError, match="scales must be at most 15 times the sum's"):
        arm_compute.add(q, q, (1.6, 0), (0.1, 0), (0.1, 0))


def test_a_bias_beyond_the_compute_librarys_integers_is_refused():
    with pytest.raises(ValueError, match=r"bias must be less than 2\*\*30 steps of x_scale \* w_scale, got 1e\+30"):
        arm_compute.linear(np.zeros(3, np.int32), 1e30, 0.1, 0.1, 0.1, 0, relu=False)


def test_onnx_runtime_swaps_a_single_first_operand(rng):
    """Then the other product is rounded first."""
    a, b = rng.integers(0, 256, (2, 5000)).astype(np.uint8)
    z = np.uint8(100)
    scales = 0.05, 0.037, 0.074
    alone = onnxruntime.qlinear_add(a[:1], scales[0], z, b, scales[1], z, scales[2], z)
    swapped = onnxruntime.qlinear_add(b, scales[1], z, a[:1], scales[0], z, scales[2], z)
    np.testing.assert_array_equal(alone, swapped)


def test_the_compute_library_rounds_in_steps_of_1_in_2048():
    a, b = np.arange(256, dtype=np.uint8).repeat(256), np.tile(np.arange(256, dtype=np.uint8), 256)
    pair = (0.05, 100)
    found = arm_compute.add(a, b, pair, pair, (0.1, 128)).astype(int)
    exact = (a.astype(int) + b.astype(int) - 200) / 2 + 128
    assert np.abs(found - np.clip(exact, 0, 255)).max() == 0.5
    ties = (exact % 1 == 0.5) & (exact > 0) & (exact < 255)
    assert (found[ties] == np.floor(exact[ties] + 0.5)).all()  # up
    acc = np.arange(-3000, 3000).astype(np.int32)
    codes = arm_compute.linear(acc, 0.5, 0.02, 0.005, 0.03, 60, relu=False)
    steps = (acc + 5000) * (0.02 * 0.005 / 0.03) + 60
    assert np.abs(codes - np.clip(np.rint(steps), 0, 255)).max() <= 1
    assert arm_compute.linear(acc, 0.0, 0.02, 0.005, 0.03, 60, relu=True).min() == 60


def test_what_is_just_below_a_half_is_no_tie():
    """49 * (1 / 98) in float64: C's round gives 0, and so did ai-edge-litert 2.3.0; with 0.5 added first it is 1."""
    acc = np.array([49, -49, 147, 48, 50, 0, 98], np.int32)
    assert 49 * (1 / 98) < 0.5 and np.trunc(49 * (1 / 98) + 0.5) == 1
    codes = litert.requantize(acc, 1.0, 1.0, (98.0, 0), kernel="reference", operator="fully_connected")
    assert codes.tolist() == [0, 0, 1, 0, 1, 0, 1]
