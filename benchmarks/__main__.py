"""Speed, side by side with PyTorch in one run: python -m benchmarks

Each row times the same work in both, in turn, and prints the median of their ratio: 2.0 means that qlearn takes twice
PyTorch's time. Single times are of this machine at this moment; the ratios are what to compare.
"""

import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

import qlearn
from qlearn import observers

ROUNDS = 15


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Time both in turn, after one call of each that is not counted, and print the medians."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    mine, torchs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:<44}{mine * 1e3:>10.2f} ms{torchs * 1e3:>10.2f} ms{ratio:>9.1f}")


def import_seconds(statement: str) -> float:
    """The median time of an import in a new interpreter, as the interpreter itself measures it."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    """Print every row."""
    warnings.filterwarnings("ignore", message=".*deprecated")
    x = np.random.default_rng(0).normal(size=(64, 128, 128)).astype(np.float32)  # a million values
    t = torch.from_numpy(x)
    channels = np.linspace(0.01, 0.05, 64)
    zeros = np.zeros(64, np.int64)
    q = qlearn.quantize_per_tensor(x, 0.02, 128, "quint8")
    tq = torch.quantize_per_tensor(t, 0.02, 128, torch.quint8)
    machine = qlearn.Machine.from_torch()

    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    print(f"{x.size:,} values{'':<34}{'qlearn':>10}{'torch':>13}{'ratio':>12}")
    compare(
        "quantize_per_tensor, quint8",
        lambda: qlearn.quantize_per_tensor(x, 0.02, 128, "quint8"),
        lambda: torch.quantize_per_tensor(t, 0.02, 128, torch.quint8),
    )
    compare(
        "quantize_per_channel, qint8",
        lambda: qlearn.quantize_per_channel(x, channels, zeros, 0, "qint8"),
        lambda: torch.quantize_per_channel(t, torch.from_numpy(channels), torch.from_numpy(zeros), 0, torch.qint8),
    )
    compare("dequantize, quint8", q.dequantize, tq.dequantize)
    compare(
        "add, quint8",
        lambda: qlearn.add(q, q, 0.04, 128, machine=machine),
        lambda: torch.ops.quantized.add(tq, tq, 0.04, 128),
    )
    for name in ("MinMaxObserver", "HistogramObserver"):
        mine, torchs = getattr(observers, name), getattr(torch.ao.quantization, name)
        compare(f"{name}, one batch", lambda o=mine: o()(x), lambda o=torchs: o()(t))
    print()
    for statement in ("import numpy", "import qlearn", "import torch"):
        print(f"{statement:<44}{import_seconds(statement):>10.3f} s")


if __name__ == "__main__":
    main()
