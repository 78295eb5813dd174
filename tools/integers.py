"""Whole networks in integers beside PyTorch, layer by layer: python tools/integers.py [SIZE] [SEEDS] [SEED] [CPU]

ResNet-18 and MobileNetV2 of book/models.py with SEEDS sets of weights and three images of SIZE x SIZE each, for every
engine. For each image the program's codes are compared with the network's, the network's with those of the running
PyTorch, and the C's last codes with the program's. CPU AVX2 does so with the kernels of a CPU without VNNI, whose sums
saturate. Exit code 1 if an integer differs.
"""

import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from qlearn.machine import _cpu
from record import ROOT

SIZE, SEEDS, IMAGES = 224, 3, 3
NAMES = {"resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2"}
ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
HEADER = (
    f"{'network':13}{'engine':9}{'layers':>7}{'codes':>12}{'network':>9}{'PyTorch':>9}{'C':>5}"
    f"{'points':>12}{'read s':>8}{'run s':>7}{'C s':>7}  forms"
)


def compared(
    model: Any, images: np.ndarray[Any, Any], options: Sequence[str] | None = ("-O3", "-march=native")
) -> dict[str, Any]:
    """Program, network, PyTorch and C on some images: how many codes, how many differ, and how long it took.

    options: of the C compiler; None leaves C out.
    """
    from qlearn import Network, QTensor
    from qlearn.integers import Program
    from qlearn.network.torch_values import torch_values

    net = Network.from_torch(model)
    start = time.process_time()
    program = Program.of(net, images[:1].shape)
    found: dict[str, Any] = {"layers": len(program), "codes": 0, "network": 0, "PyTorch": 0, "C": 0}
    found |= {"read": time.process_time() - start, "points": program.check().points, "run": 0.0, "C run": 0.0}
    in_c = None if options is None else program.compile(options)
    for image in images:
        ours = net.run(image[None], keep=True)
        theirs, _ = torch_values(model, net.steps, [image[None]])
        codes = ours[program.source].int_repr()
        start = time.process_time()
        mine = program.run(codes, keep=True) | {program.source: codes}
        found["run"] += (time.process_time() - start) / len(images)
        if in_c is not None:
            start = time.process_time()
            last = in_c(codes)
            found["C run"] += (time.process_time() - start) / len(images)
            for a, name in zip(last if isinstance(last, tuple) else (last,), program.outputs, strict=True):
                found["C"] += int((a != mine[name]).sum())
        for name, value in mine.items():
            if isinstance(theirs.get(name), QTensor):
                found["codes"] += value.size
                found["network"] += int((value != ours[name].int_repr()).sum())
                found["PyTorch"] += int((value != theirs[name].int_repr()).sum())
    return found | {"report": program.report()}


def row(name: str, engine: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    report = found["report"]
    every = report.forms.total()
    forms = ", ".join(f"{form} {n / every:.2%}" for form, n in report.forms.most_common())
    M, B, S = (max(getattr(line, key) for line in report.rows) for key in ("M_bits", "B_bits", "S"))
    late, size = (sum(getattr(line, key) for line in report.rows) for key in ("late", "parameters"))
    text = f"{name:13}{engine:9}{found['layers']:>7}{found['codes']:>12,}{found['network']:>9}{found['PyTorch']:>9}"
    text += f"{found['C']:>5}{found['points']:>12,}{found['read']:>8.1f}{found['run']:>7.2f}{found['C run']:>7.2f}"
    return f"{text}  {forms} of {every:,}; M {M}, B {B} bits, S {S}; {late:,} late codes, {size:,} bytes"


def child(size: int, seeds: int, seed: int) -> int:
    """All networks and engines in this process; how many integers differ."""
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "book"))
    import models

    print(HEADER, flush=True)
    total: Counter[str] = Counter()
    for weights in range(seed, seed + seeds):
        for name in NAMES:
            for engine in ENGINES:
                torch.backends.quantized.engine = engine
                images = models.images(IMAGES, size, weights)
                model = models.quantize(getattr(models, name)(weights, size), images)
                found = compared(model, images.numpy())
                print(row(NAMES[name], engine, found), flush=True)
                total.update({key: found[key] for key in ("codes", "network", "PyTorch", "C", "points")})
    differing = total["network"] + total["PyTorch"] + total["C"]
    print(f"{total['codes']:,} codes of layers compared, {differing:,} differ; {total['points']:,} points prove them")
    return differing


def main(size: int = SIZE, seeds: int = SEEDS, seed: int = 0, *, cpu: str = "") -> int:
    """Run where the environment chooses the kernels; 1 if anything differs, else 0."""
    env = os.environ | (AVX2 if cpu == "AVX2" else _cpu.without_amx())
    command = [sys.executable, __file__, "--child", *map(str, (size, seeds, seed))]
    return subprocess.run(command, env=env, check=False).returncode


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(bool(child(*map(int, sys.argv[2:]))))
    sizes, cpu = [int(a) for a in sys.argv[1:4]], sys.argv[4:5]
    sys.exit(main(*sizes, cpu=cpu[0]) if cpu else main(*sizes))
