"""Speed, side by side in one run: python -m benchmarks [elements] [layers] [networks] [integers] [one_thread] [finder]

Each row times the same work in qlearn and in others, in turn, and prints ratios of medians: 2.0 means that qlearn takes
twice the other's time. Single times are of this machine at this moment; the ratios are what to compare.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import threadpoolctl
import torch

import qlearn
from benchmarks import finder, integers, layers, networks
from benchmarks.timing import Clock, Work, fastest, import_seconds, medians, peak_bytes, race
from qlearn import observers

LIMIT = 40  # times quicker than the reference evaluator


def row(name: str, times: dict[str, float]) -> None:
    """Our milliseconds, and our time as a multiple of each other's."""
    mine, *others = times.values()
    print(f"{name:<40}{mine * 1e3:>10.2f} ms" + "".join(f"{mine / other:>12.2f}" for other in others))


def heading(name: str, others: list[str]) -> None:
    """The names over the rows."""
    print(f"\n{name:<40}{'qlearn':>13}" + "".join(f"{other:>12}" for other in others))


def best_float(times: dict[str, float]) -> dict[str, float]:
    """The two memory formats of a float32 contestant as one: the quicker."""
    found: dict[str, float] = {}
    for label, seconds in times.items():
        name = label.removesuffix(layers.CHANNELS_LAST)
        found[name] = min(seconds, found.get(name, seconds))
    return found


def elements() -> None:
    """Quantizing, adding, observing a million values."""
    x = np.random.default_rng(0).normal(size=(64, 128, 128)).astype(np.float32)
    t = torch.from_numpy(x)
    scales, zeros = np.linspace(0.01, 0.05, 64), np.zeros(64, np.int64)
    q = qlearn.quantize_per_tensor(x, 0.02, 128, "quint8")
    tq = torch.quantize_per_tensor(t, 0.02, 128, torch.quint8)
    machine = qlearn.Machine.from_torch()
    rows: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "quantize_per_tensor, quint8": (
            lambda: qlearn.quantize_per_tensor(x, 0.02, 128, "quint8"),
            lambda: torch.quantize_per_tensor(t, 0.02, 128, torch.quint8),
        ),
        "quantize_per_channel, qint8": (
            lambda: qlearn.quantize_per_channel(x, scales, zeros, 0, "qint8"),
            lambda: torch.quantize_per_channel(t, torch.from_numpy(scales), torch.from_numpy(zeros), 0, torch.qint8),
        ),
        "dequantize, quint8": (q.dequantize, tq.dequantize),
        "add, quint8": (
            lambda: qlearn.add(q, q, 0.04, 128, machine=machine),
            lambda: torch.ops.quantized.add(tq, tq, 0.04, 128),
        ),
    }
    for name in ("MinMaxObserver", "HistogramObserver"):
        mine, torchs = getattr(observers, name), getattr(torch.ao.quantization, name)
        rows[f"{name}, one batch"] = (lambda o=mine: o()(x), lambda o=torchs: o()(t))
    heading(f"{x.size:,} values", ["torch"])
    for name, (ours, theirs) in rows.items():
        row(name, medians(race({"qlearn": ours, "torch": theirs})))
    print()
    for statement in ("import numpy", "import qlearn", "import torch"):
        print(f"{statement:<40}{import_seconds(statement):>10.3f} s")


def reference(clock: Clock, name: str) -> None:
    """One layer of ResNet-18 against ONNX's reference evaluator."""
    layer = layers.drawn(layers.Shape(64, 64, 56, 3, 1, 1))
    both: dict[str, Work] = {"qlearn": layers.ours(layer, "x86"), "onnx": layers.onnx_reference(layer)}
    times = fastest(race(both, rounds=3, calls=3, clock=clock))
    heading(f"ONNX's reference evaluator, {name}", ["ONNX"])
    print(f"{layer.shape!s:<40}{times['qlearn'] * 1e3:>10.2f} ms{times['qlearn'] / times['onnx']:>12.4f}")
    print(f"{'':<40}quicker by {times['onnx'] / times['qlearn']:.0f} times (at least {LIMIT} are wanted)")


def the_layers() -> None:
    """ResNet-18's convolutions, one by one and together; one against the reference evaluator; memory."""
    found: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    heading("medians", ["float32", *layers.ENGINES])
    for shape in [*layers.RESNET18, layers.DEPTHWISE]:
        times = race(layers.contestants(layers.drawn(shape)))
        found[str(shape)] = best_float(medians(times)), best_float(fastest(times))
        row(str(shape), found[str(shape)][0])
    for i, name in enumerate(("medians", "fastest calls")):
        together = [(found[str(shape)][i], n) for shape, n in layers.RESNET18.items()]
        row(f"ResNet-18's 20 together, {name}", {who: sum(t[who] * n for t, n in together) for who in together[0][0]})

    reference(time.perf_counter, "fastest calls")
    print("\nmost memory in one call, and im2col in float32, MB")
    for shape in layers.RESNET18:
        peak = peak_bytes(layers.ours(layers.drawn(shape), "x86"))
        print(f"{shape!s:<40}{peak / 1e6:>10.2f}{shape.columns / 1e6:>10.2f}{peak / shape.columns:>8.2f}")


def the_networks() -> None:
    """From image to logits."""
    heading("networks, 224x224, batch 1", networks.OTHERS)
    for name in networks.NETWORKS:
        times = race(networks.contestants(name), calls=2)
        row(f"{name}, medians", best_float(medians(times)))
        row(f"{name}, fastest", best_float(fastest(times)))


def the_integers() -> None:
    """Every channel of a network in integers."""
    print(f"\n{'forms of all channels':<32}{'line':>8}{'late':>8}{'cut':>6}{'found':>10}{'proved':>10}{'points':>14}")
    for name in networks.NETWORKS:
        for engine in layers.ENGINES:
            forms, points, found, proved = integers.steps_of(name, engine)
            shares = f"{forms['line']:>8,}{forms['late']:>8,}{forms['thresholds']:>6,}"
            print(f"{name + ', ' + engine:<32}{shares}{found:>8.1f} s{proved:>8.1f} s{points:>14,}")


def one_thread() -> None:
    """The CPU's time on one thread each, which does not depend on what else the machine does."""
    heading("one thread, fastest calls, CPU time", ["float32", *layers.ENGINES])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sums: dict[str, float] = {}
    with threadpoolctl.threadpool_limits(1):
        for shape, n in [*layers.RESNET18.items(), (layers.DEPTHWISE, 0)]:
            times = best_float(fastest(race(layers.contestants(layers.drawn(shape)), clock=time.thread_time)))
            row(str(shape), times)
            sums = {who: sums.get(who, 0) + n * seconds for who, seconds in times.items()}
        row("ResNet-18's 20 together", sums)
        heading("networks, one thread", networks.OTHERS)
        for name in networks.NETWORKS:
            row(name, best_float(fastest(race(networks.contestants(name), calls=2, clock=time.thread_time))))
        reference(time.thread_time, "one thread, CPU time")
    torch.set_num_threads(threads)


PARTS = {
    "elements": elements,
    "layers": the_layers,
    "networks": the_networks,
    "integers": the_integers,
    "one_thread": one_thread,
    "finder": finder.run,
}


def main() -> None:
    """Print every row."""
    warnings.filterwarnings("ignore")  # PyTorch's, of what it is going to remove
    torch.set_grad_enabled(False)
    blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    kernels = ", ".join(f"{pool['internal_api']} {pool['version']} {pool['architecture']}" for pool in blas)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    print(f"NumPy {np.__version__}, {kernels}, {max(pool['num_threads'] for pool in blas)} threads")
    if "OPENBLAS_CORETYPE" in os.environ:
        print("OPENBLAS_CORETYPE is set: not the kernels that this CPU would have")
    print(f"the machine's load is {os.getloadavg()[0]:.1f}")
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
