"""Compare whole networks with PyTorch, layer by layer: python tools/networks.py [SIZE] [SEEDS] [SEED]

ResNet-18 and MobileNetV2 of book/models.py with SEEDS sets of weights, three images of SIZE x SIZE each, converted for
every engine. The highest capability runs them all, the lower ones one set each. ``exact.py`` runs this, too. Exit code
1 if an integer of a layer or an output differs.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from known import known
from qlearn import Machine
from qlearn.machine import _cpu
from qlearn.machine.machine import CAPABILITIES, ENGINES
from qlearn.machine.releases import AVX512_BODIES, release_of
from record import NEEDS, ROOT, capability_of, cpu_flags, torch_version

SIZE, SEEDS, IMAGES = 224, 3, 3
NAMES = {"resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2"}

Row = dict[str, Any]


def run(size: int, seeds: int, seed: int) -> list[Row]:
    """Every capability that the CPU has, each in a process of its own; prints the rows as they come."""
    there = [capability for capability in CAPABILITIES if NEEDS[capability] in cpu_flags()]
    if "AVX512" in there and AVX512_BODIES.holds(release_of(torch_version())):
        there.remove("AVX512")  # whose averages qlearn refuses
    rows: list[Row] = []
    print(HEADER, flush=True)
    for capability in there:
        many = seeds if capability == there[-1] else 1
        for row in asked(capability, size, many, seed):
            rows.append(row)
            print(in_words(row), flush=True)
    return rows


def asked(capability: str, size: int, seeds: int, seed: int) -> Iterator[Row]:
    """The rows of one capability."""
    env = os.environ | {"ATEN_CPU_CAPABILITY": capability.lower()} | _cpu.without_amx()
    command = [sys.executable, __file__, "--child", *map(str, (size, seeds, seed))]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout or ():
            yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"{capability} failed; to see why: ATEN_CPU_CAPABILITY={capability.lower()} {command}")


def child(size: int, seeds: int, seed: int) -> None:
    """In the new process: a line of JSON for each network and engine."""
    warnings.filterwarnings("ignore", message=".*deprecated")
    for name in NAMES:
        for engine in ENGINES:
            print(json.dumps(row(name, engine, size, seeds, seed)), flush=True)


def row(name: str, engine: str, size: int, seeds: int, seed: int) -> Row:
    """A network with some sets of weights: every integer of each layer, and the outputs; needs torch."""
    import torch

    sys.path.insert(0, str(ROOT / "book"))
    import models
    from qlearn import Network

    torch.backends.quantized.engine = engine
    if not Machine.from_torch().avx512:
        torch.set_num_threads(1)  # drawn_layers.races
    start = time.perf_counter()
    found: Row = {"network": NAMES[name], "engine": engine, "capability": capability_of(torch)}
    found |= {"size": size, "seeds": seeds, "images": IMAGES, "compared": 0, "differing": 0, "outputs_differing": 0}
    for weights in range(seed, seed + seeds):
        images = models.images(IMAGES, size, weights)
        model = models.quantize(getattr(models, name)(weights, size), images)
        net = Network.from_torch(model)
        comparison = net.compare(model, images.numpy())
        with torch.no_grad():
            theirs = model(images).numpy()
        found["layers"] = len(comparison.rows)
        found["compared"] += comparison.compared
        found["differing"] += comparison.differing
        found["outputs_differing"] += int((net(images.numpy()) != theirs).sum())
        if comparison.first and "first" not in found:
            found["first"] = f"seed {weights}: {comparison.first}"
    reason = known(Machine.from_torch(), NAMES[name])
    if reason and differing([found]):
        found |= {"known": {reason: differing([found])}, "differing": 0, "outputs_differing": 0}
    return found | {"seconds": round(time.perf_counter() - start, 1)}


HEADER = (
    f"{'network':13}{'engine':9}{'capability':11}{'layers':>7}{'compared':>14}{'differing':>11}{'outputs':>9}{'s':>7}"
)


def in_words(found: Row) -> str:
    """One line of the table, and the first difference below it."""
    line = "{network:13}{engine:9}{capability:11}{layers:7}{compared:14,}{differing:11,}".format(**found)
    line += "{outputs_differing:9,}{seconds:7.0f}".format(**found)
    return line + (f"\n    {found['first']}" if "first" in found else "")


def differing(rows: list[Row]) -> int:
    """Integers and outputs that differ, all together."""
    return sum(row["differing"] + row["outputs_differing"] for row in rows)


def main(size: int = SIZE, seeds: int = SEEDS, seed: int = 0) -> int:
    """Run, print, count; 1 if anything differs, else 0."""
    rows = run(size, seeds, seed)
    compared = sum(row["compared"] for row in rows)
    print(f"{compared:,} integers of layers compared, {sum(row['differing'] for row in rows):,} differ")
    return 1 if differing(rows) else 0


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    if sys.argv[1:2] == ["--child"]:
        child(*map(int, sys.argv[2:]))
    else:
        raise SystemExit(main(*map(int, sys.argv[1:])))
