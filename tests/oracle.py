"""PyTorch as the oracle: functions run in a process of their own for each capability; this process needs no torch.

``ask("AVX2", quantize_per_tensor, x, ...)`` calls the function where ATEN_CPU_CAPABILITY was set before torch was
imported; ``cpu="AVX2"`` also makes FBGEMM and oneDNN take the kernels of a CPU without VNNI. The functions stand at the
top of a module, so that they can be sent; they return NumPy arrays.
"""

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import pytest

from qlearn import Machine
from qlearn.machine import ENGINES, _cpu
from qlearn.machine.releases import BOOK, release_of
from strategies import arranged

RELEASE = release_of(importlib.metadata.version("torch")) if importlib.util.find_spec("torch") else BOOK
CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")
FLAGS = {"DEFAULT": "sse4_1", "AVX2": "avx2", "AVX512": "avx512f", "AMX": "amx_int8"}
LESSER = {  # what makes FBGEMM and oneDNN use no more of the CPU
    "": {},  # conftest.py keeps oneDNN from AMX
    "AMX": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"},
    "AVX2": {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX512": {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
COMPARED: Counter[str] = Counter()  # operator -> values compared with PyTorch, live or recorded
DIFFERING: Counter[str] = Counter()  # operator -> how many of them differ


def unavailable(capability: str) -> str | None:
    """Why PyTorch cannot be asked with this capability here, or None. One that the CPU lacks must never run."""
    if reason := elsewhere():
        return reason
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    if FLAGS[capability] not in cpu_flags():
        return "this CPU has no " + capability.replace("AVX512", "AVX-512")
    return None


def elsewhere() -> str | None:
    """Why PyTorch here is not asked at all, or None."""
    return None if _cpu.is_x86() else f"PyTorch's arithmetic here is not x86-64's, but that of {platform.machine()}"


def running(engine: str, capability: str, threads: int = 1, vnni: bool = True) -> Machine:
    """The machine whose answers ``ask`` gives: of the release that is installed."""
    return Machine(engine, capability.upper(), threads, vnni, RELEASE)


@functools.cache
def cpu_flags() -> frozenset[str]:
    """What the CPU can do, from /proc/cpuinfo; nothing where Linux does not say it."""
    lines = _cpu.CPUINFO.read_text().splitlines() if _cpu.CPUINFO.exists() else []
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


HIGHEST = "AVX512" if "avx512f" in cpu_flags() else "AVX2"
"""The highest capability that layers have here."""


class Asked(NamedTuple):
    """Where PyTorch runs: the keywords of ``ask``."""

    engine: str
    cpu: str = ""  # "AVX2": as a CPU without AVX-512, and so without VNNI

    def __str__(self) -> str:
        return f"{self.engine} {self.cpu}".strip()

    @property
    def capability(self) -> str:
        """The highest there is."""
        return self.cpu or HIGHEST


ASKED = (*map(Asked, ENGINES), *(Asked(engine, "AVX2") for engine in ("fbgemm", "x86", "onednn")))
"""Each engine on this CPU; and, but for qnnpack, which does not look at it, as a CPU without AVX-512."""


@functools.cache
def dispatch_unavailable(capability: str) -> str | None:
    """As ``unavailable``, for element-wise operators and conversions per tensor, whose kernels have no AVX-512 version.

    PyTorch registers them without one (``QuantizedOpKernels.cpp`` REGISTER_DISPATCH, ``DispatchStub.h``), so that the
    AVX512 dispatch can choose nothing else than the AVX2 kernels, on a CPU without AVX-512 too. Tried once, in a
    process of its own: an instruction that the CPU lacks would end it.
    """
    reason = unavailable(capability)
    if reason is None or capability != "AVX512" or unavailable("AVX2"):
        return reason
    env = os.environ | {"ATEN_CPU_CAPABILITY": "avx512"}
    code = (
        "import torch; q = torch._make_per_tensor_quantized_tensor(torch.arange(130, dtype=torch.uint8), 0.1, 3);"
        "torch.ops.quantized.add(q, q, 0.1, 3); print(torch.backends.cpu.get_cpu_capability())"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, check=False)
    if done.stdout.strip() == b"AVX512":
        return None
    return f"{reason}, and PyTorch's AVX512 dispatch does not run without it"


@functools.cache
def other_library() -> str | None:
    """Why the C library's expm1f and tanhf are not those that ``qlearn.elementwise.exponential`` has, or None."""
    if not sys.platform.startswith("linux"):
        return f"expm1f and tanhf are those of glibc 2.36, and this is {platform.system()}"
    expm1f = ctypes.CDLL("libm.so.6").expm1f
    expm1f.argtypes, expm1f.restype = [ctypes.c_float], ctypes.c_float
    if expm1f(1.0) == float(np.float32(1.7182817)):  # rounded correctly: 1.7182819
        return None
    return f"this C library, {' '.join(platform.libc_ver())}, has another expm1f and tanhf than glibc 2.36"


def start() -> None:
    """Import torch in the processes of all capabilities at once, ahead of the first question."""
    for capability in CAPABILITIES:
        if not unavailable(capability):
            _pool(capability).submit(int)


def ask(
    capability: str,
    function: Callable[..., Any],
    *args: Any,
    engine: str = "fbgemm",
    threads: int = 1,
    elementwise: bool = False,
    cpu: str = "",
) -> Any:
    """Call function(*args) where PyTorch runs with this capability, engine and number of threads; skip where it cannot.

    ``elementwise`` says that it calls only what needs no AVX-512 kernel: see ``dispatch_unavailable``. ``cpu``, of
    LESSER, makes FBGEMM and oneDNN, but not PyTorch's own kernels, use no more of the CPU than that.
    """
    return _pool(capability, elementwise, cpu).submit(_call, function, args, engine, threads).result()


def compare(operator: str, ours: Any, theirs: Any, what: object = "") -> None:
    """Assert equal shapes, dtypes and every value, NaN equal to NaN; count them for the summary."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{operator} {what}: shape {ours.shape}, PyTorch {theirs.shape}"
    assert ours.dtype == theirs.dtype, f"{operator} {what}: dtype {ours.dtype}, PyTorch {theirs.dtype}"
    both_nan = (ours != ours) & (theirs != theirs)
    differ = np.argwhere((ours != theirs) & ~both_nan)
    COMPARED[operator] += ours.size
    DIFFERING[operator] += len(differ)
    if len(differ):
        first = tuple(differ[0])
        raise AssertionError(
            f"{operator} {what}: {len(differ)} of {ours.size} values differ from PyTorch; "
            f"at {first}: {ours[first]!r}, PyTorch {theirs[first]!r}"
        )


@functools.cache
def _pool(capability: str, elementwise: bool = False, cpu: str = "") -> ProcessPoolExecutor:
    if elementwise and not unavailable(capability):
        return _pool(capability)
    reason = dispatch_unavailable(capability) if elementwise else unavailable(capability) or (cpu and unavailable(cpu))
    if reason:
        pytest.skip(f"PyTorch is not asked with {capability}: {reason}")
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=_start, initargs=(capability, cpu))


def _start(capability: str, cpu: str) -> None:
    os.environ |= {"ATEN_CPU_CAPABILITY": capability.lower()} | LESSER[cpu]
    warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)
    import torch

    if torch.backends.cpu.get_cpu_capability() != capability:
        raise RuntimeError(f"asked PyTorch for {capability}, it runs {torch.backends.cpu.get_cpu_capability()}")


def _call(function: Callable[..., Any], args: tuple[Any, ...], engine: str, threads: int) -> Any:
    import torch

    torch.backends.quantized.engine = engine
    torch.set_num_threads(threads)
    return function(*args)


# What PyTorch is asked. ``layout`` is a name that strategies.arranged knows: strides do not survive being sent.


def quantize_per_tensor(x: Any, scale: float, zero_point: int, dtype: str, layout: str = "contiguous") -> Any:
    """codes, real numbers, strides of both."""
    import torch

    t = torch.from_numpy(arranged(x, layout))
    return _answer(torch.quantize_per_tensor(t, scale, zero_point, getattr(torch, dtype)))


def quantize_per_channel(
    x: Any, scales: Any, zero_points: Any, axis: int, dtype: str, layout: str = "contiguous"
) -> Any:
    """codes, real numbers, strides of both; or the message of PyTorch's refusal."""
    import torch

    t = torch.from_numpy(arranged(x, layout))
    s, z = torch.from_numpy(scales), torch.from_numpy(zero_points)
    try:
        return _answer(torch.quantize_per_channel(t, s, z, axis, getattr(torch, dtype)))
    except RuntimeError as error:
        return str(error)


def dequantize(codes: Any, scale: Any, zero_point: Any, axis: int | None = None) -> Any:
    """The real numbers of given codes, per tensor or per channel."""
    import torch

    q = torch.from_numpy(codes)
    if axis is None:
        return torch._make_per_tensor_quantized_tensor(q, scale, zero_point).dequantize().numpy()
    s, z = torch.from_numpy(scale), torch.from_numpy(zero_point)
    return torch._make_per_channel_quantized_tensor(q, s, z, axis).dequantize().numpy()


def add(a: Any, b: Any, layout: str = "contiguous") -> Any:
    """a and b: (codes, scale, zero point), b with the result's scale and zero point after them; codes and strides."""
    import torch

    qa, qb = (torch._make_per_tensor_quantized_tensor(torch.from_numpy(t[0]), t[1], t[2]) for t in (a, b))
    if layout == "channels_last":
        last = {4: torch.channels_last, 5: torch.channels_last_3d}[qa.ndim]
        qa, qb = qa.contiguous(memory_format=last), qb.contiguous(memory_format=last)
    out = torch.ops.quantized.add(qa, qb, *b[3:])
    return out.int_repr().numpy(), out.stride()


def there_and_back(x: Any, scale: Any, zero_point: Any, dtype: str, axis: int | None, change: str) -> None:
    """from_torch and to_torch of one tensor, sliced, transposed or expanded: same codes, strides and parameters."""
    import torch

    import qlearn

    kind = getattr(torch, dtype)
    if axis is None:
        t = torch.quantize_per_tensor(torch.from_numpy(x), scale, zero_point, kind)
    else:
        t = torch.quantize_per_channel(
            torch.from_numpy(x), torch.from_numpy(scale), torch.from_numpy(zero_point), axis, kind
        )
    if change == "channels_last":
        t = t.contiguous(memory_format=torch.channels_last)
    elif change == "transposed":
        t = t.transpose(0, -1)
    elif change == "sliced":
        t = t[..., ::2]
    elif change == "expanded":
        t = t.expand(3, *t.shape)
    q = qlearn.from_torch(t)
    back = q.to_torch()
    assert q.dtype == dtype and q.shape == tuple(t.shape) and q.strides == t.stride()
    assert back.dtype == t.dtype and back.stride() == t.stride() and back.qscheme() == t.qscheme()
    assert np.array_equal(q.int_repr(), t.int_repr().numpy()) and torch.equal(back.int_repr(), t.int_repr())
    assert np.array_equal(q.dequantize(), t.dequantize().numpy())
    if axis is None:
        assert q.q_scale() == t.q_scale() == back.q_scale() == scale
        assert q.q_zero_point() == t.q_zero_point() == back.q_zero_point() == zero_point
    else:
        assert q.q_per_channel_axis() == t.q_per_channel_axis() == back.q_per_channel_axis() == axis
        for name in ("q_per_channel_scales", "q_per_channel_zero_points"):
            ours, theirs, again = getattr(q, name)(), getattr(t, name)(), getattr(back, name)()
            assert np.array_equal(ours, theirs.numpy()) and torch.equal(theirs, again)
            assert ours.dtype == theirs.numpy().dtype and again.dtype == theirs.dtype


def refusals() -> dict[str, str]:
    """What from_torch says to tensors that it does not take."""
    import torch

    import qlearn

    x, one = torch.ones(2, 4), torch.ones(2)
    wrong = {
        "not quantized": x,
        "not a tensor": np.ones(3),
        "quint4x2": torch.quantize_per_tensor(x, 0.1, 0, torch.quint4x2),
        "float zero points": torch.quantize_per_channel(x, one, one, 0, torch.quint8),
    }
    found = {}
    for name, value in wrong.items():
        try:
            found[name] = repr(qlearn.from_torch(value))
        except (TypeError, NotImplementedError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def machine() -> Any:
    """Machine.from_torch() in the asked process."""
    import qlearn

    return qlearn.Machine.from_torch()


def _answer(t: Any) -> Any:
    real = t.dequantize()
    return t.int_repr().numpy(), real.numpy(), t.stride(), real.stride()
